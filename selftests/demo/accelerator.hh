// SPDX-License-Identifier: GPL-2.0-only
// A context of the accelerator.
#ifndef DEMO_ACCELERATOR_HH
#define DEMO_ACCELERATOR_HH

#include <cstddef>
#include <memory>
#include <string>
#include <vector>

#include "libccad.h"

namespace demo {

std::string status_name(unsigned status);

class Accelerator {
public:
	Accelerator();
	~Accelerator();
	Accelerator(const Accelerator &) = delete;
	Accelerator &operator=(const Accelerator &) = delete;

	// The node of its memory, or -1.
	int node() const { return ctx_.info.node; }
	unsigned pasid() const { return ctx_.info.pasid; }
	unsigned context() const { return ctx_.info.context; }

	// One CRC32C over [data, data + len), waited for.
	ccad_completion crc32c(const void *data, size_t len);

	// The same @times over, in flight on return.
	class Batch {
	public:
		const ccad_completion &wait(size_t i) const;
		bool ended(size_t i) const { return ccad_status(&records_[i]); }
		size_t size() const { return size_; }

	private:
		friend class Accelerator;
		struct Free {
			void operator()(void *p) const;
		};
		std::unique_ptr<ccad_completion[], Free> records_;
		size_t size_ = 0;
	};
	Batch submit_crc32c(const void *data, size_t len, size_t times);

private:
	static constexpr unsigned ring_shift = 10;
	ccad_ctx ctx_;
};

} // namespace demo

#endif
