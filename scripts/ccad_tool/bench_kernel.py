# SPDX-License-Identifier: GPL-2.0-or-later
"""ccad bench kernel: what the series costs those who do not use it.

Three kernels of one source, compiler and configuration (guest.config and
bench.config): `unpatched`, the series not applied; `off`, with it and without
CONFIG_COHERENT_DEVICE_MEMORY; `on`.  Each boots with one processor under
QEMU's -icount, where the time-stamp counter counts the guest's instructions,
and runs guest-rootfs/bench/kbench.c.  `present` is `on` with the device, so
that there is a coherent node; it is compared with `unpatched` on the same
machine, where the device is there and its memory is not used.

How fast a node is emptied is measured in `present` as well, beside the same
memory as an ordinary node that is put offline (ccad.memory=ordinary).  At one
instruction a nanosecond bytes per instruction are GB/s.
"""

import pathlib
import statistics

from . import bench_rows, guest, host, kernel, kgit, machine, objects, pins, progress, qemu, rootfs, \
    store, trees
from .util import ROOT, Fail, digest

GOAL = 1.001
PROGRAM = ROOT / "guest-rootfs" / "bench" / "kbench.c"
FRAGMENT = kernel.PATCHES / "config" / "bench.config"
OPTION = "CONFIG_COHERENT_DEVICE_MEMORY"
UNPATCHED, OFF, ON = "unpatched", "off", "on"
TITLES = {
    "fault-4k": "page fault, anonymous, 4 KiB",
    "fault-thp": "page fault, anonymous, 2 MiB",
    "slab-fast": "slab object, allocated and freed",
    "slab-new": "slab object, allocated, with new slabs",
    "migrate": "page moved to another ordinary node",
}
EVACUATIONS = {"4k": "4 KiB pages", "thp": "2 MiB pages"}
ORDINARY = "ccad.memory=ordinary"
DEVICE_NODE = 1
# The allocator, whose code is the unpatched kernel's when the option is off
ALLOCATOR = ("mm/page_alloc.o", "mm/slub.o", "mm/vmscan.o", "mm/compaction.o")
OTHERS = ("mm/mempolicy.o", "mm/migrate.o", "mm/memory.o", "mm/huge_memory.o", "mm/filemap.o",
          "mm/shmem.o", "mm/swap_state.o", "mm/khugepaged.o", "mm/page-writeback.o", "mm/oom_kill.o",
          "mm/vmstat.o", "mm/memcontrol.o")
HOT = {
    "mm/page_alloc.o": ("get_page_from_freelist", "__alloc_frozen_pages_noprof",
                        "alloc_pages_bulk_noprof", "__alloc_pages_slowpath", "free_frozen_pages"),
    "mm/slub.o": ("kmem_cache_alloc_noprof", "__kmalloc_noprof", "___slab_alloc", "kfree"),
    "mm/vmscan.o": ("shrink_node", "shrink_folio_list", "balance_pgdat"),
    "mm/compaction.o": ("compact_zone", "isolate_migratepages_block"),
    "mm/mempolicy.o": ("alloc_pages_mpol", "alloc_frozen_pages_noprof", "policy_nodemask",
                       "folio_alloc_mpol_noprof", "vma_alloc_folio_noprof"),
}


class Variant:
    """One of the three kernels."""

    def __init__(self, name, source):
        self.name = name
        self.source = source
        self.dir = store.path("build", f"bench-{name}")

    def tree(self):
        """The source, made when it is not there; under its lock."""
        if self.name == UNPATCHED:
            return kgit.base_checkout(self.source)
        b = kernel.Build(self.source)
        b.tree.prepare()
        b.tree.apply(b.patches)
        return b.tree.tree

    def lock(self):
        if self.name == UNPATCHED:
            return store.lock("bench-unpatched")
        return store.lock(kernel.Build(self.source).tree.lock_name)

    def fragments(self):
        self.dir.mkdir(parents=True, exist_ok=True)
        more = self.dir / "bench.config"
        more.write_text(f"# {OPTION} is not set\n" if self.name == OFF else "")
        return kernel.FRAGMENT, FRAGMENT, more

    def configure(self, tree):
        kernel.configure(tree, self.dir, self.fragments(), f"bench-{self.name}-config.log")
        got = kernel.wanted((self.dir / ".config").read_text()).get(OPTION, "n")
        if (got == "y") != (self.name == ON):
            raise Fail(f"bench: the {self.name} kernel has {OPTION}={got}",
                       f"see {self.dir / '.config'}")

    def objects(self, names):
        """Build objects alone."""
        with self.lock():
            tree = self.tree()
            self.configure(tree)
            with progress.Activity(f"bench: objects of the {self.name} kernel"):
                # With another goal beside them kbuild makes them one after the other.
                kernel.make(tree, self.dir, *names, log=f"bench-{self.name}-objects.log")
        return self.dir

    def vmlinux(self):
        with self.lock():
            tree = self.tree()
            with progress.Activity(f"bench: the {self.name} kernel", total=pins.LINUX_STEPS) as act:
                self.configure(tree)
                n = 0

                def watch(line):
                    nonlocal n
                    n += line.startswith("  ")
                    act.at(n, max(n, pins.LINUX_STEPS))
                kernel.make(tree, self.dir, "vmlinux", log=f"bench-{self.name}-build.log", watch=watch)
        return self.dir / "vmlinux"


def program():
    """kbench, static: the same for every kernel."""
    key = digest(PROGRAM.read_bytes())
    out = store.result("kbench", key)
    if not out:
        with store.new_result("kbench", key) as tmp:
            store.command(["gcc", "-O2", "-Wall", "-Wextra", "-static", "-o", tmp / "kbench", PROGRAM],
                          "kbench.log")
        out = store.result("kbench", key)
    return out


def measure(vmlinux, device, rounds, boots, parts, more="", kernel_args=()):
    """{measurement: [instructions per operation, one a repetition]}.

    more: arguments of kbench after the number of rounds."""
    st = vmlinux.stat()
    k = kernel.Kernel(vmlinux, None, None, digest(vmlinux, st.st_size, st.st_mtime_ns))
    o = machine.Options(memory="1G", second="512M", cpus=1, device=device, icount=True,
                        kernel_args=list(kernel_args), share=str(program()))
    out = {}
    for _ in range(boots):
        g = guest.Guest(o, parts["qemu"], k, parts["rootfs"], "tcg")
        text, errors = [], []
        try:
            g.start()
            g.wait_ready(900)
            r = g.run("cat /sys/devices/system/node/has_coherent_memory 2>/dev/null; echo ==; "
                      f"exec /host/kbench {rounds} {more}", text.append, errors.append, 3600)
            if r.why != "exit" or r.code:
                said = b"".join(errors).decode(errors="replace").strip()
                raise Fail(f"kbench in the guest: {r.detail or said or r.code}", f"see {g.log}")
            g.quit()
        finally:
            g.kill()
        head, _, body = b"".join(text).decode().partition("==\n")
        for line in body.splitlines():
            name, n, count = line.split()
            out.setdefault(name, []).append(int(count) / int(n))
        out["node"] = [head.strip() or None]
    return out


def parse_given(args):
    out = {}
    for text in args.kernel or []:
        name, eq, path = text.partition("=")
        p = pathlib.Path(path)
        if not eq or name not in (UNPATCHED, OFF, ON) or not p.is_file():
            raise Fail(f"--kernel {text}: not {UNPATCHED}=FILE, {OFF}=FILE or {ON}=FILE")
        out[name] = p.resolve()
    return out


def _value(reps):
    return statistics.median(reps), (max(reps) - min(reps)) / statistics.median(reps)


def rows_of(results):
    """results: {(kernel, with device?): measured} → rows, in the order of TITLES."""
    cases = ((OFF, False, "option off"), (ON, False, "option on, no device"),
             (ON, True, "option on, coherent node"))
    out = []
    for key, title in TITLES.items():
        for which, device, what in cases:
            got = results.get((which, device), {}).get(key)
            if not got:
                continue
            value, spread = _value(got)
            base = results.get((UNPATCHED, device), {}).get(key)
            yard = _value(base)[0] if base else None
            out.append(bench_rows.row(f"{title}: {what}", round(value, 2), "instructions",
                                 "unpatched kernel, same machine" if base else None,
                                 round(yard, 2) if base else None, GOAL if base else None, spread))
        if not any((k, d) in results for k, d, _ in cases):
            for device in (False, True):
                got = results.get((UNPATCHED, device), {}).get(key)
                if got:
                    value, spread = _value(got)
                    out.append(bench_rows.row(f"{title}: unpatched" + (", device" if device else ""),
                                         round(value, 2), "instructions", spread=spread))
    return out


def evacuation_rows(coherent, ordinary):
    """Instructions a byte, of each kind of node → rows."""
    out = []
    for key, pages in EVACUATIONS.items():
        base = ordinary.get(f"offline-{key}")
        yard = round(1 / _value(base)[0], 3) if base else None
        for state in ("empty", "offline"):
            got = coherent.get(f"{state}-{key}")
            if not got:
                continue
            value, spread = _value(got)
            name = f"node emptied, {pages}" + (", and offline" if state == "offline" else "")
            out.append(bench_rows.row(name, round(1 / value, 3), "GB/s",
                                      "ordinary node put offline" if base else None, yard,
                                      spread=spread))
    return out


def evacuations(vmlinux, rounds, boots, parts):
    got = []
    for title, more in (("coherent node", ()), ("ordinary node", (ORDINARY,))):
        with progress.Activity(f"bench: emptying the {title}"):
            got.append(measure(vmlinux, True, rounds, boots, parts, f"evacuate {DEVICE_NODE}", more))
        node, = got[-1].pop("node")
        if bool(node) == bool(more):
            raise Fail(f"bench: the node to be emptied is not the {title}")
    return evacuation_rows(*got)


def instructions(args):
    given = parse_given(args)
    wanted = list(given) or [UNPATCHED, OFF, ON]
    kernels = {n: given.get(n) or Variant(n, args.linux_source).vmlinux() for n in wanted}
    any_kernel = next(iter(kernels.values()))
    bare = kernel.Kernel(any_kernel, None, None, "bench")
    parts = {"qemu": qemu.given(args.qemu) if args.qemu else qemu.Build(args.qemu_source).get(),
             "rootfs": rootfs.get(bare)}
    results = {}
    for name in wanted:
        for device in ((False,) if name == OFF else (False, True)):
            with progress.Activity(f"bench: {name} kernel, {'with' if device else 'no'} device"):
                got = measure(kernels[name], device, args.rounds, args.boots, parts)
            node, = got.pop("node")
            if (name == ON and device) != bool(node):
                raise Fail(f"bench: the {name} kernel {'with' if device else 'without'} the device has "
                           + (f"the coherent node {node}" if node else "no coherent node"))
            results[name, device] = got
    rows = rows_of(results)
    if ON in kernels:
        rows += evacuations(kernels[ON], args.rounds, args.boots, parts)
    return rows


def compare_objects(args):
    """Rows: what code differs with the option off, and instructions with it on."""
    names = ALLOCATOR + OTHERS
    dirs = {n: Variant(n, args.linux_source).objects(names) for n in (UNPATCHED, OFF, ON)}
    return object_rows(dirs, names)


def object_rows(dirs, names):
    out = []
    for o in names:
        a, b, c = (dirs[n] / o for n in (UNPATCHED, OFF, ON))
        for what, compare, of in (("functions", objects.differing, objects.functions),
                                  ("sections", objects.differing_sections, objects.code)):
            differ, total = compare(a, b), len(of(a))
            if differ:
                progress.note(f"{o}: option off: differing {what}: {', '.join(differ[:6])}"
                              + (f" and {len(differ) - 6} more" if len(differ) > 6 else ""))
            out.append(bench_rows.row(f"{o}: {what} as in the unpatched kernel, option off",
                                      total - len(differ), what, "unpatched kernel", total,
                                      -1.0 if o in ALLOCATOR else None))
        ia, ic = objects.instructions(a), objects.instructions(c)
        for f in HOT.get(o, ()):
            if f in ia and f in ic:
                out.append(bench_rows.row(f"{o}: {f}, option on", ic[f], "instructions compiled",
                                     "unpatched kernel", ia[f]))
    return out


def main(args):
    bench_rows.check_json(args.json)
    host.check_arch()
    host.ensure(pins.HOST_PACKAGES)
    if not trees.series(kernel.PATCHES):
        raise Fail(f"{kernel.PATCHES}: no series")
    rows = compare_objects(args) if args.objects else instructions(args)
    return bench_rows.report(rows, args.json)
