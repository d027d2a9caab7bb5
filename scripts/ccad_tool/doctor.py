# SPDX-License-Identifier: GPL-2.0-or-later
"""ccad doctor: what works on this machine and in the guest, and the remedy where not."""

import os
import shutil
import sys

from . import accel, apt, boot, guest, host, kernel, machine, pins, progress, qemu, rootfs, store
from .util import Fail, debian_codename

# Printed by the guest as NAME VALUE; judged below.  No tool beyond the shell and od.
_PROBE = r"""
word() { od -A n -t x$2 -j $1 -N $2 "$3" 2>/dev/null | tr -d ' '; }
for d in /sys/class/iommu/dmar*/intel-iommu; do
	echo "ecap $(cat $d/ecap 2>/dev/null)"; echo "cap $(cat $d/cap 2>/dev/null)"
done
grep -qw la57 /proc/cpuinfo && echo "la57 1" || echo "la57 0"
grep -qw pdpe1gb /proc/cpuinfo && echo "gbpages 1" || echo "gbpages 0"
echo "possible $(cat /sys/devices/system/node/possible)"
echo "online $(cat /sys/devices/system/node/online)"
echo "has_memory $(cat /sys/devices/system/node/has_memory)"
echo "coherent $(cat /sys/devices/system/node/has_coherent_memory 2>/dev/null || echo missing)"
echo "distance $(cat /sys/devices/system/node/node1/distance 2>/dev/null || cat /sys/devices/system/node/node0/distance)"
for d in /sys/bus/pci/devices/*; do
	[ "$(cat $d/vendor):$(cat $d/device)" = 0x1af4:0x10f5 ] || continue
	echo "device ${d##*/}"
	echo "driver $(basename "$(readlink $d/driver 2>/dev/null)")"
	echo "iommu_group $(basename "$(readlink $d/iommu_group 2>/dev/null)")"
	echo "numa_node $(cat $d/numa_node)"
	echo "ccad_node $(cat $d/ccad/node 2>/dev/null)"
	echo "ccad_memory $(cat $d/ccad/memory 2>/dev/null)"
	at=256
	while [ $at -ge 256 ] && [ $at -le 4092 ]; do
		h=$(word $at 4 $d/config); [ -n "$h" ] || break
		id=$((0x$h & 0xffff)); next=$((0x$h >> 20))
		case $id in
		15) echo "ats_cap $(word $((at + 4)) 2 $d/config)"; echo "ats_ctl $(word $((at + 6)) 2 $d/config)";;
		27) echo "pasid_cap $(word $((at + 4)) 2 $d/config)"; echo "pasid_ctl $(word $((at + 6)) 2 $d/config)";;
		19) echo "pri_ctl $(word $((at + 4)) 2 $d/config)"; echo "pri_status $(word $((at + 6)) 2 $d/config)";;
		35) echo "dvsec 1";;
		esac
		at=$next
	done
done
for n in /dev/ccad-*; do
	[ -e "$n" ] || continue
	if (: <>"$n") 2>/tmp/why; then echo "bind ok"; else echo "bind $(tail -n 1 /tmp/why)"; fi
	break
done
dmesg | grep -iE 'ccad|uacce|DMAR|sva|incompatible' | tail -n 20 | sed 's/^/log /'
"""

# What ECAP has to say: bit, name, what QEMU wants for it.
_ECAP = (
    (43, "SMTS (scalable mode)", "-device intel-iommu,scalable-mode=on"),
    (47, "FLTS (first-stage translation)", "-device intel-iommu,fsts=on"),
    (48, "SMPWC (coherent page walks)", "this QEMU lacks the project's patch: without --qemu it is built in"),
    (40, "PASID", "-device intel-iommu,pasid-bits=20"),
    (29, "PRS (page requests)", "-device intel-iommu,svm=on"),
    (2, "DT (device IOTLB)", "-device intel-iommu,device-iotlb=on"),
)


class Report:
    def __init__(self):
        self.bad = 0

    def line(self, ok, what, remedy=""):
        """ok: True, False, or None for a fact that may be either way."""
        mark = {True: "ok     ", False: "MISSING", None: "-      "}[ok]
        print(f"{mark} {what}" + (f"\n        remedy: {remedy}" if remedy and not ok else ""),
              flush=True)
        self.bad += ok is False


def _machine(r):
    host.check_arch()
    r.line(True, "x86-64 Linux")
    name = debian_codename()
    r.line(True if name else None, f"Debian {name}" if name else "not Debian: apt and dpkg are needed")
    try:
        r.line(True, f"Debian mirror: {apt.mirror().uri}")
    except Fail as e:
        r.line(False, e.what, e.remedy)
    for title, packages in (("to boot", pins.HOST_PACKAGES), ("to test", pins.TEST_PACKAGES),
                            ("to check the series", pins.SERIES_PACKAGES)):
        lost = host.missing(packages)
        r.line(not lost, f"packages {title}" + (f": {len(lost)} missing" if lost else ""),
               "ccad installs them when it runs as root, or: apt-get install " + " ".join(lost))
    top = store.path()
    free = shutil.disk_usage(top).free / (1 << 30)
    r.line(free >= 8, f"{free:.0f} GiB free for the cache in {top}",
           "a first build takes 8 GiB: make room or point CCAD_CACHE elsewhere")
    with open("/proc/meminfo", encoding="ascii") as f:
        mem = int(f.readline().split()[1]) / (1 << 20)
    r.line(mem >= 3.5, f"{mem:.1f} GiB of memory", "the build wants 4 GiB")
    if not os.path.exists("/dev/kvm"):
        r.line(None, "/dev/kvm: none; guests run under TCG",
               "load kvm_intel or kvm_amd, or enable nested virtualisation of this machine")
    elif not os.access("/dev/kvm", os.R_OK | os.W_OK):
        r.line(None, "/dev/kvm may not be opened by this user; guests run under TCG",
               "add the user to the group kvm")
    else:
        r.line(True, "/dev/kvm can be opened (whether a guest runs under it: below)")


def _built(args):
    """(qemu, kernel) that are built already, or None."""
    try:
        q = qemu.given(args.qemu) if args.qemu else None
        k = kernel.given(args.kernel) if args.kernel else None
        if not q and _have(pins.QEMU, args.qemu_source):
            b = qemu.Build(args.qemu_source)
            q = b.get() if store.result("qemu", b.key) else None
        if not k and _have(pins.LINUX, args.linux_source):
            b = kernel.Build(args.linux_source)
            k = b.get() if store.result("kernel", b.key) else None
    except Fail as e:
        progress.note(e.what)
        return None
    return (q, k) if q and k else None


def _have(source, given):
    """Is the source there?  Looking must not download."""
    return bool(given) or any(store.path("dl", p.name).exists() for p in source.pins) \
        or store.path("dl", f"{source.package}.fallback").exists()


def _guest(r, args):
    built = _built(args)
    if not built:
        r.line(None, "guest: not built (or not up to date), so not looked at",
               "scripts/ccad build, then scripts/ccad doctor")
        return
    q, k = built
    fs = rootfs.get(k)
    usable, why = accel.probe(q, k, fs, again=True)
    r.line(True if usable else None, f"KVM: {why}" + ("" if usable else "; guests run under TCG"),
           "" if usable else "use a machine whose KVM runs a 64-bit PVH guest; TCG does all, slower")
    which = args.accel if args.accel != "auto" else "kvm" if usable else "tcg"
    g = guest.Guest(machine.Options(qemu_args=args.qemu_arg or [], kernel_args=args.kernel_arg or []),
                    q, k, fs, which)
    out = []
    try:
        g.start()
        g.wait_ready(boot.BOOT_LIMIT[which])
        g.run(_PROBE, out.append, lambda b: None, 60)
        g.sync()
        g.quit()
    except Fail as e:
        r.line(False, f"guest: {e.what}", e.remedy)
        return
    finally:
        g.kill()
    r.line(True, f"guest: comes up under {which}")
    for s in g.watch.splats[:1]:
        r.line(False, f"guest's kernel complained: {s}", f"see {g.log}")
    judge(r, parse(b"".join(out).decode(errors="replace")), g.log)


def parse(text):
    facts = {}
    for line in text.splitlines():
        k, _, v = line.partition(" ")
        facts.setdefault(k, []).append(v.strip())
    return facts


def _hex(facts, name):
    try:
        return int(facts[name][0], 16)
    except (KeyError, IndexError, ValueError):
        return None


def node_in(number, text):
    """Is the node in a list such as '0-1,4'?"""
    for part in text.split(","):
        lo, _, hi = part.partition("-")
        if lo.strip().isdigit() and int(lo) <= number <= int(hi or lo):
            return True
    return False


def judge(r, facts, log):
    """One line for each capability that the path from a process to the device needs."""
    ecap, cap = _hex(facts, "ecap"), _hex(facts, "cap")
    if ecap is None:
        r.line(False, "IOMMU", "the guest has none: -device intel-iommu, CONFIG_INTEL_IOMMU=y")
    else:
        for bit, name, remedy in _ECAP:
            r.line(bool(ecap >> bit & 1), f"IOMMU: ECAP.{name}", remedy)
        la57 = facts.get("la57") == ["1"]
        r.line(not la57 or bool(cap >> 60 & 1),
               "processor: no LA57, or an IOMMU that follows it", "-cpu max,la57=off")
        gb = facts.get("gbpages") == ["1"]
        r.line(not gb or bool(cap >> 56 & 1), "IOMMU: first-stage 1 GiB pages, as the processor has",
               "-device intel-iommu,fs1gp=on")
    possible = facts.get("possible", [""])[0]
    r.line(node_in(1, possible), f"node 1 is possible (possible: {possible})",
           "-numa node,nodeid=1 and -object acpi-generic-initiator,pci-dev=ccad0,node=1")
    if "device" not in facts:
        r.line(False, "device: PCI 1af4:10f5", "-device ccad,memdev=…; was it started with --no-device?")
        return
    r.line(True, f"device: {facts['device'][0]}")
    group = facts.get("iommu_group", [""])[0]
    r.line(bool(group), f"device: in an IOMMU group ({group})",
           "the IOMMU is off in the kernel: intel_iommu=on,sm_on")
    ats, pasid = _hex(facts, "ats_cap"), _hex(facts, "pasid_cap")
    r.line(ats is not None, "device: ATS", "the device lacks the capability: use this project's QEMU")
    if ats is not None:
        r.line(bool(ats & 0x20), "device: ATS requests are page aligned",
               "the device lacks the bit: use this project's QEMU")
    r.line(pasid is not None, "device: PASID", "the device lacks the capability")
    if pasid is not None:
        r.line(pasid >> 8 & 0x1f == 20, f"device: PASID of {pasid >> 8 & 0x1f} bits", "20 are expected")
    status = _hex(facts, "pri_status")
    r.line(status is not None, "device: PRI (page requests)", "the device lacks the capability")
    if status is not None:
        r.line(bool(status & 0x8000), "device: PRG responses carry the PASID",
               "the device lacks the bit: use this project's QEMU")
    for name, reg in (("ATS", "ats_ctl"), ("PASID", "pasid_ctl"), ("PRI", "pri_ctl")):
        v = _hex(facts, reg)
        if v is not None:
            on = bool(v & (0x8000 if name == "ATS" else 1))
            r.line(on, f"device: {name} is enabled by the kernel", f"see the kernel log, {log}")
    r.line("dvsec" in facts, "device: DVSEC describes its memory", "the device lacks the capability")
    driver = facts.get("driver", [""])[0]
    r.line(driver == "ccad", f"driver: {driver or 'none'}",
           "the kernel lacks the series, or CONFIG_CCAD=y; or its probe failed: " + str(log))
    coherent = facts.get("coherent", ["missing"])[0]
    if coherent == "missing":
        r.line(False, "kernel: has_coherent_memory", "the kernel lacks the series, or "
                                                     "CONFIG_COHERENT_DEVICE_MEMORY=y")
    else:
        r.line(node_in(1, coherent), f"node 1 is a coherent memory node (has_coherent_memory: {coherent})",
               f"the driver did not add the memory: see the kernel log, {log}")
        r.line(not node_in(1, facts.get("has_memory", [""])[0]), "node 1 is not an ordinary memory node",
               "is ccad.memory=ordinary on the kernel's command line?")
    if "bind" not in facts:
        r.line(False, "SVA: no /dev/ccad-*", "the driver did not register: the lines above say why")
    else:
        why = facts["bind"][0]
        r.line(why == "ok", "SVA: a process binds its memory to the device" +
               ("" if why == "ok" else f": {why}"),
               "the first MISSING line above is the cause; kernel log: " + str(log))


def main(args):
    r = Report()
    try:
        _machine(r)
        _guest(r, args)
    except Fail as e:
        r.line(False, e.what, e.remedy or "")
    sys.stdout.flush()
    print(f"{r.bad} missing" if r.bad else "nothing is missing")
    return 1 if r.bad else 0
