// SPDX-License-Identifier: GPL-2.0-only
/* QEMU's own NVMe device, driven the fastest way an ordinary program has. */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <unistd.h>

#include <liburing.h>

#include "bench.h"

#define BLOCK	4096

void bench_nvme(const char *path, unsigned int depth)
{
	struct io_uring_cqe *cqe;
	struct io_uring_sqe *sqe;
	struct io_uring ring;
	unsigned long done = 0;
	unsigned int i, n, head;
	double began, now;
	void *buffer;
	int fd, ret;

	fd = open(path, O_RDONLY | O_DIRECT | O_CLOEXEC);
	if (fd < 0)
		bench_fail(path, errno);
	buffer = aligned_alloc(BLOCK, (size_t)depth * BLOCK);
	if (!buffer)
		bench_fail("memory", ENOMEM);
	ret = io_uring_queue_init(depth, &ring, 0);
	if (ret)
		bench_fail("io_uring", -ret);
	ret = io_uring_register_files(&ring, &fd, 1);
	if (ret)
		bench_fail("io_uring_register_files", -ret);

	n = depth;	/* to be submitted */
	began = bench_now();
	do {
		for (i = 0; i < n; i++) {
			sqe = io_uring_get_sqe(&ring);
			io_uring_prep_read(sqe, 0, (char *)buffer + i * BLOCK,
					   BLOCK, (done + i) % 1024 * BLOCK);
			sqe->flags |= IOSQE_FIXED_FILE;
		}
		ret = io_uring_submit_and_wait(&ring, 1);
		if (ret < 0)
			bench_fail("io_uring_submit_and_wait", -ret);
		n = 0;
		io_uring_for_each_cqe(&ring, head, cqe) {
			if (cqe->res != BLOCK)
				bench_fail("read", -cqe->res);
			n++;
		}
		io_uring_cq_advance(&ring, n);
		done += n;
		now = bench_now();
	} while (now - began < BENCH_SECONDS);
	bench_print("nvme", depth, done / (now - began));

	io_uring_queue_exit(&ring);
	free(buffer);
	close(fd);
}
