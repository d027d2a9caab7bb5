# SPDX-License-Identifier: GPL-2.0-or-later
"""QEMU's command line for the guest."""

from dataclasses import dataclass, field, replace

from .util import Fail, parse_size


@dataclass
class Options:
    memory: str = "1G"
    cpus: int = 2
    cdm_size: str = "512M"
    distance: int = 160
    share: str | None = None
    input_dir: str | None = None
    qemu_args: list = field(default_factory=list)
    kernel_args: list = field(default_factory=list)
    device_args: str = ""
    gdb: bool = False
    device: bool = True
    icount: bool = False        # the time-stamp counter counts instructions; one processor
    second: str = ""            # ordinary memory of a second node, number 2
    second_cdm: str = ""        # memory of a second device, on the node after these
    replug: bool = False        # powered off, the device is plugged in again when the guest asks


def check(o):
    """Refuse what QEMU or the kernel would refuse later and less clearly."""
    size = parse_size(o.cdm_size, "--cdm-size")
    if size & (size - 1) or size < 128 << 20:
        raise Fail(f"--cdm-size {o.cdm_size}: must be a power of two of at least 128M",
                   "the memory is a PCI BAR and is onlined in blocks of 128 MiB: try 512M")
    memory = parse_size(o.memory, "--memory")
    if memory < 256 << 20:
        raise Fail(f"--memory {o.memory}: less than 256M", "try 1G")
    if memory % (1 << 20):
        raise Fail(f"--memory {o.memory}: not a multiple of 1M", f"try {(memory >> 20) + 1}M")
    if not 11 <= o.distance <= 254:
        raise Fail(f"--distance {o.distance}: a distance between nodes is 11 to 254", "try 160")
    if not 1 <= o.cpus <= 16:
        raise Fail(f"--cpus {o.cpus}: 1 to 16", "the guest's kernel has 16 processors at most")
    if o.second_cdm:
        check(replace(o, cdm_size=o.second_cdm, second_cdm=""))
    if o.icount and o.cpus != 1:
        raise Fail("instructions can be counted with one processor only", "--cpus 1")


def command(o, qemu, kernel, rootfs, accel, run):
    """argv; descriptors for the channels are added by the caller."""
    check(o)
    mem = parse_size(o.memory)
    cdm = parse_size(o.cdm_size)
    second = parse_size(o.second) if o.second else 0
    other = 3 if second else 2      # the node of the second device
    accel_arg = f"tcg,thread={'single' if o.icount else 'multi'}" if accel == "tcg" else accel
    append = ["console=ttyS0",
              # Or it leaves hot plug and AER to firmware that does nothing about them.
              "pcie_ports=native", "root=/dev/vda", "rootfstype=ext4", "ro", "init=/usr/lib/ccad/agent",
              "panic=-1", "oops=panic", "random.trust_cpu=on", "nokaslr",
              # An emulated processor on a busy host stands still for seconds at a time: that is
              # neither a broken timer nor a lockup.
              "no_timer_check", "watchdog_thresh=60", "rcupdate.rcu_cpu_stall_timeout=60",
              "ccad_scratch=1"]
    argv = [
        str(qemu.binary), "-name", "ccad,debug-threads=on", "-nodefaults", "-no-user-config",
        "-display", "none", "-no-reboot", "-run-with", "exit-with-parent=on",
        "-L", str(qemu.share),
        "-machine", "q35,kernel-irqchip=split,hmat=on", "-accel", accel_arg,
        "-global", "ICH9-LPC.acpi-pci-hotplug-with-bridge-support=off",
        "-cpu", "max,la57=off", "-smp", str(o.cpus), "-m", f"{mem + second >> 20}M",
        "-object", f"memory-backend-ram,id=ram0,size={mem}",
        "-numa", f"node,nodeid=0,memdev=ram0,cpus=0-{o.cpus - 1}",
        "-numa", "node,nodeid=1",
        "-numa", f"dist,src=0,dst=1,val={o.distance}",
    ]
    if second:
        argv += [
            "-object", f"memory-backend-ram,id=ram1,size={second}",
            "-numa", "node,nodeid=2,memdev=ram1",
            "-numa", "dist,src=0,dst=2,val=20",
            "-numa", f"dist,src=1,dst=2,val={o.distance}",
        ]
    if o.second_cdm:
        argv += [
            "-numa", f"node,nodeid={other}",
            *(arg for node in range(other)
              for arg in ("-numa", f"dist,src={node},dst={other},val={o.distance}")),
        ]
    if o.icount:
        argv += ["-icount", "shift=0,sleep=off"]
    argv += [
        "-device", "intel-iommu,scalable-mode=on,fsts=on,svm=on,pasid-bits=20,device-iotlb=on,"
                   "aw-bits=48,fs1gp=on,intremap=on",
    ]
    if o.device:
        argv += [
            "-object", f"memory-backend-ram,id=ccadmem,size={cdm}",
            "-device", "pcie-root-port,id=rp0,chassis=1,slot=1",
            "-device", device(o),
            "-object", "acpi-generic-initiator,id=gi0,pci-dev=ccad0,node=1",
        ]
    if o.second_cdm:
        argv += [
            "-object", f"memory-backend-ram,id=ccadmem1,size={parse_size(o.second_cdm)}",
            "-device", "pcie-root-port,id=rp1,chassis=2,slot=2",
            "-device", f"ccad,id=ccad1,bus=rp1,memdev=ccadmem1,proximity-domain={other}",
            "-object", f"acpi-generic-initiator,id=gi1,pci-dev=ccad1,node={other}",
        ]
    argv += [
        "-drive", f"if=none,id=root,file={_escape(rootfs.image)},format=raw,readonly=on,"
                  "file.locking=off",
        "-device", "virtio-blk-pci,drive=root",
        "-drive", f"if=none,id=scratch,file={_escape(run / 'scratch.ext4')},format=raw,"
                  "cache=unsafe,discard=unmap",
        "-device", "virtio-blk-pci,drive=scratch",
        "-device", "virtio-rng-pci",
        "-device", "virtio-serial-pci,id=vser",
        "-chardev", f"file,id=serial0,path={_escape(run / 'serial.log')},append=on",
        "-serial", "chardev:serial0",
    ]
    for tag, path in (("host", o.share), ("input", o.input_dir)):
        if path:
            argv += ["-virtfs", f"local,path={_escape(path)},mount_tag={tag},security_model=none,"
                                "readonly=on,multidevs=remap"]
            append.append({"host": "ccad_share=1", "input": "ccad_input=1"}[tag])
    if o.gdb:
        argv += ["-gdb", "tcp:localhost:1234", "-S"]
    argv += ["-kernel", str(kernel.vmlinux), "-append", " ".join(append + o.kernel_args)]
    for a in o.qemu_args:
        argv += split_args(a)
    return argv


def device(o):
    """The accelerator, as for -device and device_add."""
    extra = "," + o.device_args if o.device_args else ""
    return f"ccad,id=ccad0,bus=rp0,memdev=ccadmem,proximity-domain=1{extra}"


def split_args(text):
    """'-device x,y' is two arguments, as in a shell."""
    import shlex
    try:
        return shlex.split(text)
    except ValueError as e:
        raise Fail(f"--qemu-arg '{text}': {e}") from None


def _escape(path):
    return str(path).replace(",", ",,")
