// SPDX-License-Identifier: GPL-2.0-only
/*
 * Errors that the device reports through PCI Express Advanced Error Reporting:
 * after one that has lost nothing contexts go on; after one of the link, which
 * resets the device, their owners are told and start again.
 */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <sys/ioctl.h>
#include <sys/mman.h>

#include <linux/pci_regs.h>

#include "kselftest_harness.h"
#include "../../mm/cdm/cdm_util.h"
#include "test_util.h"
#include "test_work.h"

#define TIMEOUT	120

/* As drivers/pci/pcie/aer_inject.c wants it. */
struct aer_error {
	__u8 bus, dev, fn;
	__u32 uncor_status, cor_status;
	__u32 header_log[4];
	__u32 domain;
};

static CCAD_ALIGNED struct ccad_completion comps[ENTRIES];

FIXTURE(aer)
{
	CCAD_ALIGNED struct ccad_completion comp;
	struct aer_error error;
	struct ccad_ctx ctx;
	int inject, log, node;
	char *work;
};

FIXTURE_SETUP(aer)
{
	char name[64];
	unsigned int domain, bus, dev, fn;
	int n;

	if (!test_device_present())
		SKIP(return, "no accelerator");
	self->inject = open("/dev/aer_inject", O_WRONLY);
	if (self->inject < 0)
		SKIP(return, "a kernel without CONFIG_PCIEAER_INJECT");
	ASSERT_EQ(0, test_pci_name(name, sizeof(name)));
	n = sscanf(name, "%x:%x:%x.%x", &domain, &bus, &dev, &fn);
	ASSERT_EQ(4, n);
	self->error = (struct aer_error){
		.bus = bus, .dev = dev, .fn = fn, .domain = domain,
	};
	self->log = test_log_from_here();
	ASSERT_LE(0, self->log);
	self->node = cdm_node();
	ASSERT_EQ(0, test_start_work(&self->ctx, comps, &self->work, self->node));
}

FIXTURE_TEARDOWN(aer)
{
	if (!self->work)
		return;
	ccad_close(&self->ctx);
	munmap(self->work, WORK);
	close(self->inject);
	close(self->log);
}

/* Errors that the kernel has counted, as @kind: correctable, nonfatal, fatal. */
static long count(const char *kind)
{
	char name[32], path[256], word[64];
	long value = -1;
	FILE *f;

	snprintf(name, sizeof(name), "aer_dev_%s", kind);
	if (test_pci_path(name, path, sizeof(path)))
		return -1;
	f = fopen(path, "r");
	if (!f)
		return -1;
	while (fscanf(f, "%63s %ld", word, &value) == 2)
		if (!strncmp(word, "TOTAL", 5))
			break;
	fclose(f);
	return value;
}

/* Report an error and wait until the kernel has dealt with it. */
static void report(struct __test_metadata *_metadata, struct _test_data_aer *self,
		   const char *kind, const char *outcome)
{
	long before = count(kind);
	bool said = false;
	int i;

	ASSERT_LE(0, before);
	ASSERT_EQ((ssize_t)sizeof(self->error),
		  write(self->inject, &self->error, sizeof(self->error)));
	for (i = 0; i < 10 * TIMEOUT && !(said && count(kind) > before); i++) {
		usleep(100000);
		said = said || test_log_has(self->log, outcome);
	}
	EXPECT_EQ(before + 1, count(kind));
	EXPECT_TRUE(said) TH_LOG("the kernel did not say '%s'", outcome);
}

/* The command that was in flight ends as ever, and so does the next one. */
static void expect_goes_on(struct __test_metadata *_metadata, struct _test_data_aer *self)
{
	__u32 seen = ccad_db_read(&self->ctx, CCAD_DB_HEAD);

	ASSERT_LT(seen, ENTRIES) TH_LOG("the device was too fast for the test");
	ASSERT_EQ(0, ccad_wait(&comps[seen], WAIT_MS));
	EXPECT_EQ(CCAD_COMP_SUCCESS, comps[seen].status);
	ASSERT_EQ(0, ioctl(self->ctx.fd, CCAD_IOC_INFO, &self->ctx.info));
	EXPECT_FALSE(self->ctx.info.flags & CCAD_INFO_LOST);
}

TEST_F_TIMEOUT(aer, corrected_in_flight, TIMEOUT)
{
	self->error.cor_status = PCI_ERR_COR_BAD_TLP;
	report(_metadata, self, "correctable", "severity=Correctable");
	expect_goes_on(_metadata, self);
}

TEST_F_TIMEOUT(aer, nonfatal_in_flight, TIMEOUT)
{
	self->error.uncor_status = PCI_ERR_UNC_POISON_TLP;
	report(_metadata, self, "nonfatal", "device recovery successful");
	expect_goes_on(_metadata, self);
}

TEST_F_TIMEOUT(aer, fatal_in_flight, TIMEOUT)
{
	struct pollfd pfd = { .fd = self->ctx.fd, .events = POLLIN };

	self->error.uncor_status = PCI_ERR_UNC_DLP;
	report(_metadata, self, "fatal", "device recovery successful");
	EXPECT_EQ(1, poll(&pfd, 1, WAIT_MS));
	EXPECT_TRUE(pfd.revents & POLLERR);
	ASSERT_EQ(0, ioctl(self->ctx.fd, CCAD_IOC_INFO, &self->ctx.info));
	EXPECT_TRUE(self->ctx.info.flags & CCAD_INFO_LOST);
	EXPECT_NE(CCAD_COMP_SUCCESS, ccad_status(&comps[ENTRIES - 1]));

	ASSERT_EQ(0, ccad_restart(&self->ctx));
	EXPECT_SUCCESS(&self->ctx, ccad_fill(self->work, 3, WORK / 4), &self->comp);
	EXPECT_EQ(3, self->work[0]);
	if (self->node >= 0)
		EXPECT_TRUE(cdm_node_in("has_coherent_memory", self->node));
}

TEST_HARNESS_MAIN
