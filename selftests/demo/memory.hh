// SPDX-License-Identifier: GPL-2.0-only
// The demonstration's memory: where it comes from and where its pages lie.
#ifndef DEMO_MEMORY_HH
#define DEMO_MEMORY_HH

#include <cstddef>
#include <cstdint>
#include <map>
#include <stdexcept>
#include <string>

namespace demo {

// What went wrong and what helps, in one line.
struct Failure : std::runtime_error {
	using std::runtime_error::runtime_error;
};

[[noreturn]] void fail(const std::string &what);
[[noreturn]] void fail_errno(const std::string &what);

// Pages by node; absent: those that nothing is mapped for.
struct Places {
	std::map<int, size_t> nodes;
	size_t absent = 0;
	size_t total = 0;

	size_t on(int node) const;
};

// As move_pages() tells, page by page.
Places places(const void *data, size_t len);

/*
 * The contents of a file in one range of addresses: most of it malloc'ed and
 * read into, the last part a mapping that nobody has touched.
 */
class Buffer {
public:
	explicit Buffer(const std::string &path);
	~Buffer();
	Buffer(const Buffer &) = delete;
	Buffer &operator=(const Buffer &) = delete;

	const uint8_t *data() const { return data_; }
	size_t size() const { return size_; }
	// Whole pages, from data() on.
	size_t mapped() const { return mapped_; }
	size_t untouched() const { return mapped_ - touched_; }
	// By the library on the CPU, while the file was read.
	uint32_t crc() const { return crc_; }
	double cpu_seconds() const { return cpu_seconds_; }

	// Bind the memory to a node and move there what is elsewhere.
	void move_to(int node);

private:
	void *block_ = nullptr;
	uint8_t *data_ = nullptr;
	size_t size_ = 0;
	size_t mapped_ = 0;
	size_t touched_ = 0;
	uint32_t crc_ = 0;
	double cpu_seconds_ = 0;
};

} // namespace demo

#endif
