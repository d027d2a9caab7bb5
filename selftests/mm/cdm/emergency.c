// SPDX-License-Identifier: GPL-2.0-only
/*
 * Ordinary memory is exhausted.  With nodeN/cdm/emergency off somebody is
 * killed, which is the control of every case here; with it on nobody is, and
 * what was allocated lies on the node.  Those who are confined to ordinary
 * memory, and everybody while the node is closed, are killed as before.
 *
 * With $CDM_NO_NODE the case off_kills is for a kernel without such nodes, one
 * that does not know of them too.
 */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <sys/wait.h>

#include <numaif.h>

#include "cdm_env.h"
#include "cdm_fixture.h"
#include "pressure.h"

/* What there is of ordinary memory, and what is asked for */
#define ROOM	(96 * MB)
#define LOAD	(144 * MB)
#define TABLES	(48 * MB)

#define BOOST	"/proc/sys/vm/watermark_boost_factor"

#define GROUP	CDM_CGROUP "cdm-emergency"
#define LIMITED	CDM_CGROUP "cdm-emergency-limited"

/* Read by those who check the data once more */
#define STILL_THERE	'?'

struct load {
	pid_t pid;
	int to, from;
};

/* What a load says of itself */
struct report {
	bool intact;
	long on_node;
};

enum confinement { FREE, BOUND, CPUSET, LIMIT, BY_RANGE };

FIXTURE(emergency)
{
	int node, ordinary;
	long killed, taken, boost;
	struct load load, other;
	pid_t drainer;
	int pipe[2];
};

/* Off, empty and open */
static void reset_node(struct __test_metadata *_metadata, int node)
{
	/* What made room before, of whomever, is still there */
	ASSERT_EQ(0, cdm_attr_write(node, "emergency", "0"));
	ASSERT_EQ(0, cdm_attr_write(node, "state", "empty"));
	ASSERT_EQ(0, cdm_attr_write(node, "state", "online"));
}

FIXTURE_SETUP(emergency)
{
	if (getenv("CDM_NO_NODE")) {
		self->node = -1;
		self->ordinary = cdm_ordinary_node();
	} else {
		cdm_need_nodes(_metadata, &self->node, &self->ordinary);
	}
	if (self->node >= 0 && cdm_attr_read(self->node, "emergency") < 0)
		SKIP(return, "nodeN/cdm/emergency is not there");
	if (cdm_meminfo("SwapTotal") > 0)
		SKIP(return, "there is swap, nothing is exhausted soon");
	/* The loads are to be killed, neither the test nor who waits for it */
	ASSERT_EQ(0, cdm_write_string("/proc/self/oom_score_adj", "-1000"));
	ASSERT_EQ(0, pipe(self->pipe));
	/* Fragmentation raises the watermarks otherwise, by a third of the room */
	self->boost = cdm_read_long(BOOST);
	ASSERT_EQ(0, cdm_write_string(BOOST, "0"));
	if (self->node >= 0)
		reset_node(_metadata, self->node);
	ASSERT_EQ(0, pressure_build(ROOM));
	self->killed = cdm_vmstat("oom_kill");
	self->taken = cdm_attr_read(self->node, "emergency_pages");
	ASSERT_LE(0, self->killed);
}

/* Kills it if it is alive, and returns how it ended */
static int load_end(struct load *load)
{
	int status = 0;

	if (load->pid <= 0)
		return 0;
	kill(load->pid, SIGKILL);
	waitpid(load->pid, &status, 0);
	load->pid = 0;
	close(load->to);
	close(load->from);
	return status;
}

FIXTURE_TEARDOWN(emergency)
{
	char boost[24];

	load_end(&self->load);
	load_end(&self->other);
	if (self->drainer > 0) {
		kill(self->drainer, SIGKILL);
		waitpid(self->drainer, NULL, 0);
	}
	pressure_release();
	if (self->node >= 0) {
		cdm_attr_write(self->node, "emergency", "0");
		cdm_attr_write(self->node, "drain_timeout_ms", "60000");
		cdm_attr_write(self->node, "state", "online");
	}
	if (self->boost > 0) {
		snprintf(boost, sizeof(boost), "%ld", self->boost);
		cdm_write_string(BOOST, boost);
	}
	rmdir(GROUP);
	rmdir(LIMITED);
}

static int confine(enum confinement how, int ordinary)
{
	char value[24];

	switch (how) {
	case BOUND:
		return cdm_task_policy(MPOL_BIND, 1UL << ordinary);
	case CPUSET:
		cdm_write_string(CDM_CGROUP "cgroup.subtree_control", "+cpuset");
		mkdir(GROUP, 0755);
		snprintf(value, sizeof(value), "%d", ordinary);
		return cdm_write_string(GROUP "/cpuset.mems", value) ?:
		       cdm_write_string(GROUP "/cgroup.procs", "0");
	case LIMIT:
		cdm_write_string(CDM_CGROUP "cgroup.subtree_control", "+memory");
		mkdir(LIMITED, 0755);
		snprintf(value, sizeof(value), "%lu", LOAD / 4);
		return cdm_write_string(LIMITED "/memory.max", value) ?:
		       cdm_write_string(LIMITED "/cgroup.procs", "0");
	default:
		return 0;
	}
}

/* Never returns: says what it has whenever it is asked */
static void load_serve(const char *map, size_t len, int node, int in, int out)
{
	char byte = STILL_THERE;

	do {
		struct report report = {
			.intact = cdm_check_pattern(map, len, 61),
			.on_node = cdm_pages_on(map, len, node),
		};

		if (write(out, &report, sizeof(report)) != sizeof(report))
			break;
	} while (read(in, &byte, 1) == 1);
	_exit(0);
}

/*
 * A process that writes @len bytes and touches @tables bytes of page tables.
 * False: it did not live to tell.
 */
static bool load_start(struct load *load, struct report *report, int node,
		       int ordinary, size_t len, size_t tables, enum confinement how)
{
	int to[2], from[2];

	if (pipe(to) || pipe(from))
		return false;
	load->pid = fork();
	if (load->pid < 0)
		return false;
	if (!load->pid) {
		char *map = cdm_map(len);

		prctl(PR_SET_PDEATHSIG, SIGKILL);
		close(to[1]);
		close(from[0]);
		if (!map || confine(how, ordinary) ||
		    cdm_write_string("/proc/self/oom_score_adj", "1000"))
			_exit(1);
		if (how == BY_RANGE &&
		    cdm_bind(map, len, MPOL_BIND, 1UL << ordinary, 0))
			_exit(1);
		cdm_write_pattern(map, len, 61);
		if (tables && pressure_page_tables.fill(tables) < 0)
			_exit(1);
		load_serve(map, len, node, to[0], from[1]);
	}
	close(to[0]);
	close(from[1]);
	load->to = to[1];
	load->from = from[0];
	return read(load->from, report, sizeof(*report)) == sizeof(*report);
}

static bool load_ask(struct load *load, struct report *report)
{
	char byte = STILL_THERE;

	return write(load->to, &byte, 1) == 1 &&
	       read(load->from, report, sizeof(*report)) == sizeof(*report);
}

/* Pages that may go to the node for others who are there, and are not confined */
#define OTHERS	1024

/* The load is killed, and no more than @others pages went to the node meanwhile */
#define EXPECT_KILLED(how, len, tables, others) do {					\
	struct report report;							\
	long taken = cdm_attr_read(self->node, "emergency_pages");		\
	long killed = cdm_vmstat("oom_kill");					\
	int status;								\
										\
	EXPECT_FALSE(load_start(&self->load, &report, self->node,		\
				self->ordinary, len, tables, how));		\
	status = load_end(&self->load);						\
	EXPECT_TRUE(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL)		\
		TH_LOG("the load ended with %#x", status);			\
	EXPECT_LT(killed, cdm_vmstat("oom_kill"));				\
	EXPECT_GE(taken + (others),						\
		  cdm_attr_read(self->node, "emergency_pages"));		\
} while (0)

TEST_F_TIMEOUT(emergency, off_kills, 300)
{
	if (self->node >= 0)
		ASSERT_EQ(0, cdm_wait_used(self->node, 0));
	EXPECT_KILLED(FREE, LOAD, 0, 0);
	EXPECT_KILLED(FREE, LOAD / 2, TABLES, 0);
	if (self->node >= 0)
		EXPECT_EQ(0, cdm_used_pages(self->node));
}

TEST_F_TIMEOUT(emergency, on_spares, 300)
{
	struct report report;
	char state[32];
	long spilled;

	ASSERT_EQ(0, cdm_attr_write(self->node, "emergency", "1"));
	ASSERT_TRUE(load_start(&self->load, &report, self->node, self->ordinary,
			       LOAD, 0, FREE));
	EXPECT_EQ(self->killed, cdm_vmstat("oom_kill"));
	EXPECT_TRUE(report.intact);
	spilled = report.on_node;
	EXPECT_LE((LOAD - ROOM) / 4096 / 2, spilled);
	EXPECT_LE(spilled, cdm_attr_read(self->node, "emergency_pages") - self->taken);

	/* There is no room to empty the node to, and that is said */
	ASSERT_EQ(0, cdm_attr_write(self->node, "drain_timeout_ms", "1000"));
	EXPECT_EQ(-ETIMEDOUT, cdm_attr_write(self->node, "state", "empty"));
	EXPECT_LT(0, cdm_attr_read(self->node, "drain_left"));
	EXPECT_EQ(self->killed, cdm_vmstat("oom_kill"));

	/* There is room again */
	pressure_release();
	ASSERT_EQ(0, cdm_attr_write(self->node, "drain_timeout_ms", "60000"));
	ASSERT_EQ(0, cdm_attr_write(self->node, "state", "empty"));
	ASSERT_EQ(0, cdm_state(self->node, state, sizeof(state)));
	EXPECT_STREQ("empty", state);
	ASSERT_TRUE(load_ask(&self->load, &report));
	EXPECT_TRUE(report.intact);
	EXPECT_EQ(0, report.on_node);
	EXPECT_EQ(0, cdm_used_pages(self->node));
	TH_LOG("%ld of %lu pages went to the node", spilled, LOAD / 4096);
}

/* Page tables cannot be on the node, so something else makes room */
TEST_F_TIMEOUT(emergency, page_tables_find_room, 300)
{
	struct report report;

	ASSERT_EQ(0, cdm_attr_write(self->node, "emergency", "1"));
	/* Nobody moves what a policy keeps here */
	ASSERT_TRUE(load_start(&self->other, &report, self->node, self->ordinary,
			       ROOM / 8, 0, BY_RANGE));
	ASSERT_TRUE(load_start(&self->load, &report, self->node, self->ordinary,
			       LOAD / 2, TABLES, FREE));
	EXPECT_EQ(self->killed, cdm_vmstat("oom_kill"));
	EXPECT_TRUE(report.intact);
	EXPECT_LT(0, report.on_node);
	TH_LOG("%ld pages made room", report.on_node);
	/* What was taken off the LRU lists for it is back, or reclaim starves */
	cdm_drain();
	cdm_write_string("/proc/sys/vm/stat_refresh", "1");
	EXPECT_EQ(0, cdm_node_value(self->ordinary, "vmstat", "nr_isolated_anon"));
	ASSERT_TRUE(load_ask(&self->other, &report));
	EXPECT_TRUE(report.intact);
	EXPECT_EQ(0, report.on_node);
}

TEST_F_TIMEOUT(emergency, confined_are_killed, 300)
{
	ASSERT_EQ(0, cdm_attr_write(self->node, "emergency", "1"));
	EXPECT_KILLED(BOUND, LOAD, 0, OTHERS);
	EXPECT_KILLED(BY_RANGE, LOAD, 0, OTHERS);
	if (access(CDM_CGROUP "cgroup.subtree_control", W_OK))
		return;
	EXPECT_KILLED(CPUSET, LOAD, 0, OTHERS);
	/* Its own limit is what it is short of, not ordinary memory */
	EXPECT_KILLED(LIMIT, LOAD / 2, 0, 0);
}

TEST_F_TIMEOUT(emergency, closed_node_kills, 300)
{
	char *map = cdm_map(4096), state[32];
	struct iovec iov = { .iov_base = map, .iov_len = 4096 };
	int i;

	ASSERT_NE(NULL, map);
	ASSERT_EQ(0, cdm_attr_write(self->node, "emergency", "1"));

	/* Empty */
	ASSERT_EQ(0, cdm_attr_write(self->node, "state", "empty"));
	EXPECT_KILLED(FREE, LOAD, 0, 0);
	EXPECT_EQ(0, cdm_used_pages(self->node));
	ASSERT_EQ(0, cdm_attr_write(self->node, "state", "online"));

	/* Being emptied, for as long as a page cannot be moved */
	ASSERT_EQ(0, cdm_bind(map, 4096, MPOL_BIND, 1UL << self->node, 0));
	*map = 1;
	ASSERT_EQ(4096, vmsplice(self->pipe[1], &iov, 1, 0));
	ASSERT_EQ(0, cdm_attr_write(self->node, "drain_timeout_ms", "0"));
	self->drainer = fork();
	ASSERT_LE(0, self->drainer);
	if (!self->drainer)
		_exit(-cdm_attr_write(self->node, "state", "empty"));
	for (i = 0; i < 500; i++) {
		ASSERT_EQ(0, cdm_state(self->node, state, sizeof(state)));
		if (!strcmp(state, "draining"))
			break;
		usleep(10000);
	}
	ASSERT_STREQ("draining", state);
	EXPECT_KILLED(FREE, LOAD, 0, 0);
	ASSERT_EQ(0, cdm_state(self->node, state, sizeof(state)));
	EXPECT_STREQ("draining", state);
	EXPECT_EQ(1, cdm_used_pages(self->node));
}

/* Who has device memory is not killed for want of ordinary memory */
TEST_F_TIMEOUT(emergency, device_memory_is_no_guilt, 300)
{
	size_t len = 300 * MB;
	char byte;
	int status;

	self->other.pid = fork();
	ASSERT_LE(0, self->other.pid);
	if (!self->other.pid) {
		char *map = cdm_map_thp(len);

		prctl(PR_SET_PDEATHSIG, SIGKILL);
		if (!map || cdm_bind(map, len, MPOL_BIND, 1UL << self->node, 0) ||
		    cdm_write_string("/proc/self/oom_score_adj", "1000"))
			_exit(1);
		cdm_write_pattern(map, len, 62);
		if (write(self->pipe[1], "", 1) != 1)
			_exit(1);
		pause();
		_exit(0);
	}
	ASSERT_EQ(1, read(self->pipe[0], &byte, 1));
	ASSERT_LE((long)(len / 4096), cdm_used_pages(self->node));

	EXPECT_KILLED(FREE, LOAD, 0, 0);
	EXPECT_EQ(0, waitpid(self->other.pid, &status, WNOHANG))
		TH_LOG("who had device memory was killed");
}

TEST_HARNESS_MAIN
