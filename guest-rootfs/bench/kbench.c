// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * What page faults, slab allocations and page migrations cost the kernel.
 *
 * The counter read is the time-stamp counter, which under QEMU's -icount
 * shift=0 is the number of instructions that the one processor has retired.
 * Each measurement is of many operations, so that what happens now and then
 * (per-cpu lists, page tables, timer ticks) is in it as often as it is in life.
 *
 * Prints a line per measurement and repetition: name, operations, instructions.
 *
 * kbench ROUNDS evacuate NODE measures how fast a node is emptied, which ends
 * with its memory offline: an operation is a byte.  Whatever runs or is waited
 * for meanwhile is part of it.
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ipc.h>
#include <sys/mman.h>
#include <sys/msg.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>

#define PAGE	4096UL
#define HUGE	(2UL << 20)

static inline uint64_t now(void)
{
	uint32_t lo, hi;

	asm volatile("rdtsc" : "=a"(lo), "=d"(hi) :: "memory");
	return (uint64_t)hi << 32 | lo;
}

static void fail(const char *what)
{
	fprintf(stderr, "kbench: %s: %s\n", what, strerror(errno));
	exit(1);
}

static int quiet, again;
static long switches;

static long switches_now(void)
{
	struct rusage ru;

	getrusage(RUSAGE_SELF, &ru);
	return ru.ru_nivcsw;
}

/* Not if somebody else took the processor in the meantime */
static void tell(const char *name, unsigned long n, uint64_t count)
{
	again = switches_now() != switches;
	if (quiet || again)
		return;
	printf("%s %lu %llu\n", name, n, (unsigned long long)count);
	fflush(stdout);
}

/* A range of anonymous memory, aligned for huge pages */
static char *range(size_t size, int advice)
{
	char *p = mmap(NULL, size + HUGE, PROT_READ | PROT_WRITE,
		       MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	char *a;

	if (p == MAP_FAILED)
		fail("mmap");
	a = (char *)(((uintptr_t)p + HUGE - 1) & ~(HUGE - 1));
	if (a > p)
		munmap(p, a - p);
	munmap(a + size, p + HUGE - a);
	if (madvise(a, size, advice))
		fail("madvise");
	return a;
}

static uint64_t touch(char *p, size_t size, size_t step)
{
	uint64_t t = now();
	size_t i;

	for (i = 0; i < size; i += step)
		*(volatile char *)(p + i) = 1;
	return now() - t;
}

static void faults(const char *name, size_t size, size_t step, int advice)
{
	char *p = range(size, advice);

	tell(name, size / step, touch(p, size, step));
	munmap(p, size);
}

static int less(const void *a, const void *b)
{
	uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;

	return x < y ? -1 : x > y;
}

static uint64_t polls(int n, int descriptors)
{
	static struct pollfd fds[32];
	uint64_t t;
	int i;

	for (i = 0; i < 32; i++)
		fds[i].fd = -1;
	t = now();
	for (i = 0; i < n; i++)
		poll(fds, descriptors, 0);
	return now() - t;
}

/*
 * poll() keeps 30 descriptors on the stack, and gets a piece of slab for the
 * rest, which it gives back.  The difference is one allocation, one descriptor
 * that is none, and the release.  A median of pieces shorter than the time
 * from tick to tick is that of a piece without one.
 */
static void slab_fast(const char *name)
{
	enum { N = 256, PIECES = 65 };
	static uint64_t with[PIECES], without[PIECES];
	int i;

	for (i = 0; i < PIECES; i++) {
		with[i] = polls(N, 31);
		without[i] = polls(N, 30);
	}
	qsort(with, PIECES, sizeof(*with), less);
	qsort(without, PIECES, sizeof(*without), less);
	tell(name, N, with[PIECES / 2] - without[PIECES / 2]);
}

/*
 * A message is one allocation that stays until it is received: enough of them
 * for the caches to take new slabs from the page allocator.
 */
static void slab_new(const char *name)
{
	enum { N = 8192, SIZE = 900 };
	static struct { long type; char text[SIZE]; } m = { .type = 1 };
	int id = msgget(IPC_PRIVATE, 0600);
	struct msqid_ds ds;
	uint64_t t;
	int i;

	if (id < 0)
		fail("msgget");
	if (msgctl(id, IPC_STAT, &ds))
		fail("msgctl");
	ds.msg_qbytes = N * (SIZE + 1);
	if (msgctl(id, IPC_SET, &ds))
		fail("msgctl");
	t = now();
	for (i = 0; i < N; i++)
		if (msgsnd(id, &m, SIZE, IPC_NOWAIT))
			fail("msgsnd");
	tell(name, N, now() - t);
	msgctl(id, IPC_RMID, NULL);
}

/* There and back */
static void migrate(const char *name, int from, int to)
{
	enum { N = 2048 };
	static void *pages[N];
	static int nodes[N], status[N];
	char *p = range(N * PAGE, MADV_NOHUGEPAGE);
	uint64_t t, sum = 0;
	int i, round;

	touch(p, N * PAGE, PAGE);
	for (i = 0; i < N; i++)
		pages[i] = p + i * PAGE;
	for (round = 0; round < 4; round++) {
		for (i = 0; i < N; i++)
			nodes[i] = round & 1 ? from : to;
		t = now();
		if (syscall(SYS_move_pages, 0, (unsigned long)N, pages, nodes, status, 2))
			fail("move_pages");
		sum += now() - t;
		for (i = 0; i < N; i++)
			if (status[i] != nodes[i]) {
				errno = -status[i];
				fail("a page did not move");
			}
	}
	tell(name, 4 * N, sum);
	munmap(p, N * PAGE);
}

/* The last node with ordinary memory, if it is not the first */
static int second_node(void)
{
	char text[64] = "", *p;
	FILE *f = fopen("/sys/devices/system/node/has_memory", "r");
	int nid;

	if (!f || !fgets(text, sizeof(text), f))
		fail("has_memory");
	fclose(f);
	p = text + strlen(text);
	while (p > text && (p[-1] == '\n' || (p[-1] >= '0' && p[-1] <= '9')))
		p--;
	nid = atoi(p);
	return nid > 0 ? nid : -1;
}

static void fault_4k(void)
{
	faults("fault-4k", 64 << 20, PAGE, MADV_NOHUGEPAGE);
}

static void fault_thp(void)
{
	faults("fault-thp", 64 << 20, HUGE, MADV_HUGEPAGE);
}

static void kmalloc_fast(void)
{
	slab_fast("slab-fast");
}

static void kmalloc_new(void)
{
	slab_new("slab-new");
}

static void migration(void)
{
	if (second_node() > 0)
		migrate("migrate", 0, second_node());
}

#define EVACUATED	(128UL << 20)
#define MAX_BLOCKS	64

static int blocks[MAX_BLOCKS], nr_blocks;

static int put(const char *text, const char *format, int number)
{
	char path[128];
	int fd, ret;

	snprintf(path, sizeof(path), format, number);
	fd = open(path, O_WRONLY);
	if (fd < 0)
		return -1;
	ret = write(fd, text, strlen(text)) < 0 ? -1 : 0;
	close(fd);
	return ret;
}

/* The links to a node's memory blocks are gone while all of them are offline. */
static void find_blocks(int node)
{
	struct dirent *e;
	char path[64];
	DIR *d;

	snprintf(path, sizeof(path), "/sys/devices/system/node/node%d", node);
	d = opendir(path);
	if (!d)
		fail(path);
	while ((e = readdir(d)) && nr_blocks < MAX_BLOCKS)
		nr_blocks += sscanf(e->d_name, "memory%d", &blocks[nr_blocks]) == 1;
	closedir(d);
}

static void set_blocks(const char *state)
{
	int i;

	for (i = 0; i < nr_blocks; i++)
		if (put(state, "/sys/devices/system/memory/memory%d/state", blocks[i]))
			fail(state);
}

/* A node of coherent device memory does it at a word, an ordinary one by blocks. */
static void evacuate(const char *name, int node, const char *state, int advice)
{
	static const char file[] = "/sys/devices/system/node/node%d/cdm/state";
	unsigned long mask = 1UL << node;
	int coherent = !put("online", file, node);
	uint64_t start, count;
	char *p;

	if (!coherent && strcmp(state, "offline"))
		return;
	p = range(EVACUATED, advice);
	if (syscall(SYS_mbind, p, EVACUATED, 2 /* MPOL_BIND */, &mask, 64, 0))
		fail("mbind");
	touch(p, EVACUATED, PAGE);
	start = now();
	if (!coherent)
		set_blocks(state);
	else if (put(state, file, node))
		fail(state);
	count = now() - start;
	if (!quiet)
		printf("%s %lu %llu\n", name, EVACUATED, (unsigned long long)count);
	fflush(stdout);
	munmap(p, EVACUATED);
	if (!coherent)
		set_blocks("online_movable");
	else if (put("online", file, node))
		fail("online");
}

static int evacuations(int rounds, int node)
{
	int i;

	find_blocks(node);
	for (i = -1; i < rounds; i++) {
		quiet = i < 0;
		evacuate("empty-4k", node, "empty", MADV_NOHUGEPAGE);
		evacuate("empty-thp", node, "empty", MADV_HUGEPAGE);
		evacuate("offline-4k", node, "offline", MADV_NOHUGEPAGE);
		evacuate("offline-thp", node, "offline", MADV_HUGEPAGE);
	}
	return 0;
}

int main(int argc, char **argv)
{
	static void (*const all[])(void) = {
		fault_4k, fault_thp, kmalloc_fast, kmalloc_new, migration,
	};
	int rounds = argc > 1 ? atoi(argv[1]) : 5;
	int i, tries;
	size_t k;

	if (argc > 3 && !strcmp(argv[2], "evacuate"))
		return evacuations(rounds, atoi(argv[3]));
	/* The first round is for caches to fill */
	for (i = -1; i < rounds; i++) {
		quiet = i < 0;
		for (k = 0; k < sizeof(all) / sizeof(*all); k++) {
			for (tries = 0; tries < 8; tries++) {
				switches = switches_now();
				all[k]();
				if (!again)
					break;
			}
		}
	}
	return 0;
}
