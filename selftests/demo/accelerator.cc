// SPDX-License-Identifier: GPL-2.0-only
#include "accelerator.hh"

#include <cerrno>
#include <cstdlib>
#include <cstring>

#include "memory.hh"

namespace demo {

namespace {

// Without any acceleration a page request takes a third of a millisecond.
constexpr int patience_ms = 120000;

std::string remedy(int error)
{
	switch (error) {
	case ENODEV:
		return "is the device in this machine and the driver in this kernel? `ccad doctor` knows";
	case EOPNOTSUPP:
		return "the kernel cannot share addresses with the device; `ccad doctor` says why";
	case EBUSY:
		return "all of its contexts are in use";
	default:
		return "see the kernel's log";
	}
}

} // namespace

std::string status_name(unsigned status)
{
	static const char *const names[] = {
		"NONE", "SUCCESS", "INVALID_OPCODE", "INVALID_FIELD",
		"PAGE_FAULT", "ABORTED", "BUS_ERROR",
	};

	return status < std::size(names) ? names[status] : std::to_string(status);
}

Accelerator::Accelerator()
{
	int ret = ccad_open(&ctx_, ring_shift);

	if (ret)
		fail(std::string("cannot open the accelerator: ") + std::strerror(-ret) + "; " +
		     remedy(-ret));
}

Accelerator::~Accelerator()
{
	ccad_close(&ctx_);
}

void Accelerator::Batch::Free::operator()(void *p) const
{
	std::free(p);
}

const ccad_completion &Accelerator::Batch::wait(size_t i) const
{
	if (ccad_wait(&records_[i], patience_ms))
		fail("the accelerator does not answer; see the kernel's log");
	return records_[i];
}

Accelerator::Batch Accelerator::submit_crc32c(const void *data, size_t len, size_t times)
{
	ccad_desc desc = ccad_crc32c(data, len, 0);
	Batch batch;
	size_t i;

	batch.size_ = times;
	batch.records_.reset(static_cast<ccad_completion *>(
		std::aligned_alloc(sizeof(ccad_completion), times * sizeof(ccad_completion))));
	if (!batch.records_)
		fail("no memory for completion records");
	std::memset(batch.records_.get(), 0, times * sizeof(ccad_completion));

	for (i = 0; i < times; i++) {
		desc.tag = i;
		desc.completion = reinterpret_cast<uintptr_t>(&batch.records_[i]);
		if (ccad_push(&ctx_, &desc))
			fail("no room in the ring");
	}
	ccad_kick(&ctx_);
	return batch;
}

ccad_completion Accelerator::crc32c(const void *data, size_t len)
{
	return submit_crc32c(data, len, 1).wait(0);
}

} // namespace demo
