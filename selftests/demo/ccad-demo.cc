// SPDX-License-Identifier: GPL-2.0-only
/*
 * A process, the kernel and an accelerator share memory: the accelerator
 * computes CRC32C over the process's own pointers, from ordinary memory and
 * then from its own, and is told when memory is freed under its hands.
 */
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <string>
#include <thread>
#include <vector>

#include <dirent.h>
#include <getopt.h>
#include <malloc.h>
#include <numa.h>

#include "accelerator.hh"
#include "memory.hh"

namespace demo {

namespace {

constexpr size_t mib = 1 << 20;
const char default_dir[] = "/input";

// What has to hold, and whether it does.
class Verdict {
public:
	void operator()(bool held, const std::string &what)
	{
		std::printf("  %-4s  %s\n", held ? "ok" : "FAIL", what.c_str());
		held_ &= held;
	}
	bool held() const { return held_; }

private:
	bool held_ = true;
};

struct Run {
	const char *name;
	Places before;
	ccad_completion done;
};

std::string time_text(double ns)
{
	char text[32];

	std::snprintf(text, sizeof(text), ns < 1e6 ? "%.1f us" : "%.2f ms",
		      ns < 1e6 ? ns / 1e3 : ns / 1e6);
	return text;
}

void print_table(const Buffer &buffer, int ordinary, int device, const std::vector<Run> &runs)
{
	std::string near = "node " + std::to_string(ordinary);
	std::string far = "node " + std::to_string(device);

	std::printf("\n%-24s  %26s  %8s  %8s  %8s  %11s\n", "", "pages, when it began", "trans-",
		    "ATC", "page", "device");
	std::printf("%-24s  %8s %8s %8s  %8s  %8s  %8s  %11s  %8s\n", "", near.c_str(),
		    far.c_str(), "absent", "lations", "hits", "requests", "time", "CRC32C");
	std::printf("%-24s  %8s %8s %8s  %8s  %8s  %8s  %11s  %08x\n", "CPU, boost::crc", "-", "-",
		    "-", "-", "-", "-", "-", buffer.crc());
	for (const Run &run : runs)
		std::printf("%-24s  %8zu %8zu %8zu  %8u  %8u  %8u  %11s  %08llx\n", run.name,
			    run.before.on(ordinary), run.before.on(device), run.before.absent,
			    run.done.translations, run.done.atc_hits, run.done.page_requests,
			    time_text(run.done.device_ns).c_str(), run.done.result);
	std::printf("\n");
}

// The first node that has processors and memory.
int ordinary_node()
{
	struct bitmask *cpus = numa_allocate_cpumask();
	int node;

	for (node = 0; node <= numa_max_node(); node++) {
		if (!numa_node_to_cpus(node, cpus) && numa_bitmask_weight(cpus))
			break;
	}
	numa_free_cpumask(cpus);
	return node;
}

void share_memory(const std::string &input, Accelerator &accelerator, Verdict &verdict)
{
	int ordinary = ordinary_node(), device = accelerator.node();
	std::vector<Run> runs;
	Buffer buffer(input);
	Places moved;
	long long free;

	std::printf("1. One memory\n\n");
	std::printf("  %s: %zu bytes at %p, of them %zu KiB in a mapping never touched\n",
		    input.c_str(), buffer.size(), static_cast<const void *>(buffer.data()),
		    buffer.untouched() >> 10);
	std::printf("  accelerator: context %u, PASID %u, memory on node %d at distance %d\n",
		    accelerator.context(), accelerator.pasid(), device,
		    numa_distance(ordinary, device));
	if (numa_node_size64(device, &free) < 0 || free < static_cast<long long>(buffer.mapped()))
		fail(input + " does not fit into the accelerator's memory; give it more with --cdm-size");

	Places first = places(buffer.data(), buffer.mapped());
	runs.push_back({"accelerator", first, accelerator.crc32c(buffer.data(), buffer.size())});

	buffer.move_to(device);
	moved = places(buffer.data(), buffer.mapped());
	runs.push_back({"accelerator, after mbind", moved,
			accelerator.crc32c(buffer.data(), buffer.size())});

	print_table(buffer, ordinary, device, runs);

	for (const Run &run : runs)
		verdict(run.done.status == CCAD_COMP_SUCCESS && run.done.bytes_done == buffer.size(),
			std::string(run.name) + ": " + status_name(run.done.status) + ", " +
				std::to_string(run.done.bytes_done) + " bytes");
	verdict(runs[0].done.result == buffer.crc() && runs[1].done.result == buffer.crc(),
		"processor and accelerator agree on the CRC, twice");
	verdict(first.absent >= buffer.untouched() / 4096 && runs[0].done.page_requests > 0,
		"what was not there has been asked for: " +
			std::to_string(runs[0].done.page_requests) + " page requests for " +
			std::to_string(first.absent) + " pages (the kernel maps neighbours too)");
	verdict(runs[0].done.bytes_local == 0 && first.on(device) == 0,
		"nothing lay in the accelerator's memory before it was moved there");
	verdict(moved.on(device) == moved.total,
		std::to_string(moved.on(device)) + " of " + std::to_string(moved.total) +
			" pages moved to node " + std::to_string(device));
	verdict(runs[1].done.bytes_local == buffer.size(),
		std::to_string(runs[1].done.bytes_local) + " of " + std::to_string(buffer.size()) +
			" bytes then read from local memory");
}

/*
 * free() of a block of its own mapping is munmap(): from then on the addresses
 * are nobody's, and the accelerator, which still reads there, must see that.
 */
void free_under_its_hands(Accelerator &accelerator, Verdict &verdict)
{
	constexpr size_t len = 32 * mib;
	constexpr size_t times = 1000;	// seconds of work
	size_t good = 0, faults = 0, other = 0, i;

	mallopt(M_MMAP_THRESHOLD, mib);
	auto *block = static_cast<uint8_t *>(std::malloc(len));
	if (!block)
		fail("no memory for a block of 32 MiB; give the guest more with --memory");
	auto begin = reinterpret_cast<uintptr_t>(block);
	std::memset(block, 0x5a, len);
	uint32_t crc = accelerator.crc32c(block, len).result;

	Accelerator::Batch batch = accelerator.submit_crc32c(block, len, times);
	std::thread other_thread([&] {
		batch.wait(1);
		std::free(block);
	});
	// Nothing may be allocated until all have ended: it could get the addresses.
	batch.wait(times - 1);
	other_thread.join();

	const ccad_completion *fault = nullptr;
	bool inside = true, right = true;
	for (i = 0; i < times; i++) {
		const ccad_completion &done = batch.wait(i);

		if (done.status == CCAD_COMP_SUCCESS) {
			right &= done.result == crc && !faults;
			good++;
		} else if (done.status == CCAD_COMP_PAGE_FAULT) {
			inside &= done.fault_addr >= begin && done.fault_addr < begin + len;
			if (!faults++)
				fault = &done;
		} else {
			other++;
		}
	}

	std::printf("\n2. A block freed by another thread while the accelerator reads it\n\n");
	std::printf("  %zu commands over [%#lx, %#lx): %zu succeeded, then %zu faulted\n", times,
		    begin, begin + len, good, faults);
	if (fault)
		std::printf("  the first that failed, tag %u: %s, %s of %#llx, %llu bytes into the block\n",
			    fault->tag, status_name(fault->status).c_str(),
			    fault->access == CCAD_ACCESS_READ ? "read" : "write", fault->fault_addr,
			    fault->fault_addr - begin);
	std::printf("\n");

	verdict(good > 0 && right, "every command before it has the right CRC, none came after it");
	verdict(faults > 0 && !other, "the accelerator was told, with a completion error");
	verdict(faults > 0 && inside && fault->access == CCAD_ACCESS_READ,
		"the error names an address in the freed block, and a read");

	ccad_completion after = accelerator.crc32c("123456789", 9);
	verdict(after.status == CCAD_COMP_SUCCESS && after.result == 0xe3069283,
		"the context goes on");
}

std::string default_input()
{
	std::string found;
	DIR *dir = opendir(default_dir);

	while (struct dirent *ent = dir ? readdir(dir) : nullptr)
		if (ent->d_name[0] != '.')
			found = std::string(default_dir) + "/" + ent->d_name;
	if (dir)
		closedir(dir);
	if (found.empty())
		fail("name a file of some megabytes with --input");
	return found;
}

int run(std::string input)
{
	Verdict verdict;

	if (numa_available() < 0)
		fail("the kernel has no NUMA policies; it takes CONFIG_NUMA");
	if (input.empty())
		input = default_input();

	Accelerator accelerator;
	if (accelerator.node() < 0)
		fail("the accelerator's memory is no node; boot with ccad.memory=cdm");
	share_memory(input, accelerator, verdict);
	free_under_its_hands(accelerator, verdict);

	std::printf("\n%s\n", verdict.held() ? "Everything held." : "Something did NOT hold.");
	return verdict.held() ? EXIT_SUCCESS : EXIT_FAILURE;
}

void usage(FILE *to)
{
	std::fprintf(to,
		     "usage: ccad-demo [--input FILE]\n"
		     "\n"
		     "The accelerator computes CRC32C over FILE through the program's own pointers,\n"
		     "from ordinary memory and from its own; then memory is freed while it reads.\n"
		     "Exit code 0 only if everything held.\n"
		     "\n"
		     "  --input FILE  the data, some megabytes (default: the file in /input)\n"
		     "  --help        this text\n");
}

} // namespace

} // namespace demo

int main(int argc, char **argv)
{
	static const struct option options[] = {
		{"input", required_argument, nullptr, 'i'},
		{"help", no_argument, nullptr, 'h'},
		{},
	};
	std::string input;
	int option;

	std::setvbuf(stdout, nullptr, _IOLBF, 0);
	while ((option = getopt_long(argc, argv, "i:h", options, nullptr)) != -1) {
		switch (option) {
		case 'i':
			input = optarg;
			break;
		case 'h':
			demo::usage(stdout);
			return EXIT_SUCCESS;
		default:
			demo::usage(stderr);
			return 2;
		}
	}
	if (optind < argc) {
		demo::usage(stderr);
		return 2;
	}
	try {
		return demo::run(input);
	} catch (const std::exception &e) {
		std::fprintf(stderr, "ccad-demo: %s\n", e.what());
		return EXIT_FAILURE;
	}
}
