// SPDX-License-Identifier: GPL-2.0-only
#include "memory.hh"

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <cstdlib>
#include <cstring>
#include <vector>

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <boost/crc.hpp>
#include <numa.h>
#include <numaif.h>

namespace demo {

namespace {

constexpr size_t page = 4096;
constexpr size_t chunk = 1 << 20;

using Crc32c = boost::crc_optimal<32, 0x1edc6f41, 0xffffffff, 0xffffffff, true, true>;

constexpr size_t round_up(size_t len)
{
	return (len + page - 1) & ~(page - 1);
}

struct File {
	int fd;

	explicit File(int fd) : fd(fd) {}
	~File() { close(fd); }
	File(const File &) = delete;
	File &operator=(const File &) = delete;
};

void read_exactly(int fd, uint8_t *to, size_t len, const std::string &path)
{
	while (len) {
		ssize_t n = read(fd, to, len);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			fail_errno("cannot read " + path);
		if (!n)
			fail(path + " became shorter while it was read");
		to += n;
		len -= n;
	}
}

void write_exactly(int fd, const uint8_t *from, size_t len)
{
	while (len) {
		ssize_t n = write(fd, from, len);

		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			fail_errno("cannot write to a memfd");
		from += n;
		len -= n;
	}
}

} // namespace

void fail(const std::string &what)
{
	throw Failure(what);
}

void fail_errno(const std::string &what)
{
	throw Failure(what + ": " + std::strerror(errno));
}

size_t Places::on(int node) const
{
	auto it = nodes.find(node);

	return it == nodes.end() ? 0 : it->second;
}

Places places(const void *data, size_t len)
{
	constexpr size_t batch = 1024;
	std::vector<void *> pages(batch);
	std::vector<int> status(batch);
	Places out;

	out.total = round_up(len) / page;
	for (size_t done = 0; done < out.total; done += batch) {
		size_t n = std::min(batch, out.total - done);

		for (size_t i = 0; i < n; i++)
			pages[i] = const_cast<char *>(static_cast<const char *>(data)) +
				   (done + i) * page;
		if (numa_move_pages(0, n, pages.data(), nullptr, status.data(), 0))
			fail_errno("move_pages() does not tell where the pages are");
		for (size_t i = 0; i < n; i++) {
			if (status[i] >= 0)
				out.nodes[status[i]]++;
			else
				out.absent++;
		}
	}
	return out;
}

Buffer::Buffer(const std::string &path)
{
	File file(open(path.c_str(), O_RDONLY | O_CLOEXEC));
	struct stat st;

	if (file.fd < 0 || fstat(file.fd, &st))
		fail_errno("cannot open " + path);
	if (!S_ISREG(st.st_mode))
		fail(path + " is not a file; name one with --input");
	size_ = st.st_size;
	if (size_ < 16 * page)
		fail(path + " is too small to show anything; name one of some megabytes with --input");
	mapped_ = round_up(size_);
	touched_ = mapped_ / 4 * 3 & ~(page - 1);

	// malloc() gives whole pages of its own to a block of this size.
	block_ = std::malloc(mapped_ + page);
	if (!block_)
		fail("no memory for " + path + "; give the guest more with --memory");
	data_ = reinterpret_cast<uint8_t *>(round_up(reinterpret_cast<uintptr_t>(block_)));

	// The last part lies in a memfd and is mapped in place of the block's pages.
	File rest(memfd_create("ccad-demo", MFD_CLOEXEC));
	if (rest.fd < 0)
		fail_errno("cannot create a memfd");

	std::vector<uint8_t> buffer(chunk);
	std::chrono::steady_clock::duration spent{};
	Crc32c crc;
	for (size_t done = 0; done < size_;) {
		size_t n = std::min(chunk, size_ - done);
		size_t here = done < touched_ ? std::min(n, touched_ - done) : 0;

		read_exactly(file.fd, buffer.data(), n, path);
		std::memcpy(data_ + done, buffer.data(), here);
		write_exactly(rest.fd, buffer.data() + here, n - here);

		auto start = std::chrono::steady_clock::now();
		crc.process_bytes(buffer.data(), n);
		spent += std::chrono::steady_clock::now() - start;
		done += n;
	}
	crc_ = crc.checksum();
	cpu_seconds_ = std::chrono::duration<double>(spent).count();

	if (ftruncate(rest.fd, mapped_ - touched_))
		fail_errno("cannot size a memfd");
	if (mmap(data_ + touched_, mapped_ - touched_, PROT_READ | PROT_WRITE,
		 MAP_SHARED | MAP_FIXED, rest.fd, 0) == MAP_FAILED)
		fail_errno("cannot map a memfd");
}

Buffer::~Buffer()
{
	// Give the block back whole: anonymous memory in place of the mapping.
	if (data_ && mmap(data_ + touched_, mapped_ - touched_, PROT_READ | PROT_WRITE,
			  MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0) != MAP_FAILED)
		std::free(block_);
}

void Buffer::move_to(int node)
{
	struct bitmask *mask = numa_allocate_nodemask();
	long ret;

	numa_bitmask_setbit(mask, node);
	ret = mbind(data_, mapped_, MPOL_BIND, mask->maskp, mask->size + 1,
		    MPOL_MF_MOVE | MPOL_MF_STRICT);
	numa_free_nodemask(mask);
	if (ret)
		fail_errno("mbind() does not move the buffer to node " + std::to_string(node));
}

} // namespace demo
