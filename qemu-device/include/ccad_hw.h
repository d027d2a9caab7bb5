/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * ccad - coherent accelerator device: the hardware interface
 *
 * The one definition of what software sees: PCI identity, the DVSEC, the
 * registers of BAR0, doorbell pages, descriptors and completion records.  It
 * is shared by the device model, the Linux driver, user space and every test.
 *
 * Everything is little endian.  Registers are accessed naturally aligned with
 * their own size; a 64-bit register may also be accessed as two 32-bit halves,
 * low half first.  Any other access reads as all ones and is ignored when
 * written.  Reserved registers and bits read as zero and are ignored when
 * written; reserved fields of a descriptor have to be zero.
 */
#ifndef CCAD_HW_H
#define CCAD_HW_H

#include <linux/types.h>
#ifdef __KERNEL__
#include <linux/build_bug.h>
#else
#include <assert.h>
#endif

/* PCI identity; 1af4:10f0-10ff is the range for experiments. */
#define CCAD_PCI_VENDOR_ID		0x1af4
#define CCAD_PCI_DEVICE_ID		0x10f5
#define CCAD_PCI_CLASS			0x1200	/* processing accelerator */

#define CCAD_BAR_REGS			0	/* registers and doorbells */
#define CCAD_BAR_MEM			2	/* local memory, 64-bit prefetchable */
#define CCAD_BAR_MSIX			4	/* MSI-X table and PBA */

/*
 * Designated vendor-specific extended capability (PCIe 6.0, 7.9.6): describes
 * the local memory before anything else is known of the device.  Offsets are
 * from the start of the capability.
 */
#define CCAD_DVSEC_VENDOR_ID		0x1af4
#define CCAD_DVSEC_ID			0xccad
#define CCAD_DVSEC_REVISION		1
#define CCAD_DVSEC_LENGTH		0x28
#define CCAD_DVSEC_FLAGS		0x0a	/* u16 */
#define   CCAD_DVSEC_FLAG_MEM		0x0001	/* BAR2 is coherent memory */
#define   CCAD_DVSEC_FLAG_VOLATILE	0x0002	/* contents are lost at reset */
#define CCAD_DVSEC_GRANULE_SHIFT	0x0c	/* u32, access counter granule */
#define CCAD_DVSEC_MEM_SIZE		0x10	/* u64, bytes */
#define CCAD_DVSEC_LATENCY_NS		0x18	/* u32, of a local read */
#define CCAD_DVSEC_BANDWIDTH_MBPS	0x1c	/* u32, MiB/s of local memory */
#define CCAD_DVSEC_PXM			0x20	/* u32, ACPI proximity domain */
#define   CCAD_DVSEC_PXM_NONE		0xffffffff

/* BAR0 is laid out as: global registers, context blocks, doorbell pages. */
#define CCAD_MAX_CONTEXTS		1024
#define CCAD_CTX_BASE			0x20000
#define CCAD_CTX_STRIDE			0x80
#define CCAD_DOORBELL_BASE		0x40000
#define CCAD_DOORBELL_STRIDE		0x1000

#define CCAD_CTX(n)		(CCAD_CTX_BASE + (n) * CCAD_CTX_STRIDE)
#define CCAD_DOORBELL(n)	(CCAD_DOORBELL_BASE + (n) * CCAD_DOORBELL_STRIDE)

/* Global registers. */
#define CCAD_REG_ID			0x000	/* RO u32 */
#define   CCAD_ID			0x44414343	/* "CCAD" */
#define CCAD_REG_VERSION		0x004	/* RO u32, major << 16 | minor */
#define   CCAD_VERSION			0x00010000
#define CCAD_REG_CAPS			0x008	/* RO u64 */
#define   CCAD_CAPS_CONTEXTS_SHIFT	0	/* 16 bits: contexts */
#define   CCAD_CAPS_CONTEXTS_MASK	0xffff
#define   CCAD_CAPS_ENGINES_SHIFT	16	/* 8 bits: engines */
#define   CCAD_CAPS_ENGINES_MASK	0xff
#define   CCAD_CAPS_RING_SHIFT		24	/* 8 bits: log2 of the longest ring */
#define   CCAD_CAPS_RING_MASK		0xff
#define CCAD_REG_OPCODES		0x010	/* RO u64, bit n: opcode n works */
#define CCAD_REG_CTRL			0x018	/* RW u32 */
#define   CCAD_CTRL_ENABLE		0x1	/* engines may run */
#define   CCAD_CTRL_RESET		0x2	/* reset the device; reads as 0 */
#define CCAD_REG_STATUS			0x01c	/* RO u32 */
#define   CCAD_STATUS_READY		0x1	/* enabled and not resetting */
#define CCAD_REG_MEM_SIZE		0x020	/* RO u64, bytes of local memory */
#define CCAD_REG_EVENT			0x028	/* RW1C u32, raises CCAD_VECTOR_EVENT */
#define   CCAD_EVENT_CTX_ERROR		0x1	/* a context entered CCAD_CTX_ERROR */
#define CCAD_REG_EVENT_MASK		0x02c	/* RW u32, 1: the event interrupts */

/* Statistics of the whole device since its reset: RO u64 each. */
#define CCAD_REG_STATS			0x100
/* The same of one context since it was enabled, in its doorbell page. */
#define CCAD_DB_STATS			0x100

#define CCAD_STAT_COMMANDS		0x00	/* commands ended, failed ones too */
#define CCAD_STAT_ERRORS		0x08	/* commands ended with an error */
#define CCAD_STAT_READ_LOCAL		0x10	/* bytes */
#define CCAD_STAT_READ_SYSTEM		0x18
#define CCAD_STAT_WRITE_LOCAL		0x20
#define CCAD_STAT_WRITE_SYSTEM		0x28
#define CCAD_STAT_ATC_HITS		0x30	/* page accesses served by the ATC */
#define CCAD_STAT_TRANSLATIONS		0x38	/* ATS requests */
#define CCAD_STAT_PAGE_REQUESTS		0x40	/* PRI requests */
#define CCAD_STAT_PAGE_FAILURES		0x48	/* PRI requests answered by a failure */
#define CCAD_STAT_INVALIDATIONS		0x50	/* ATC invalidations received */
#define CCAD_STAT_DEVICE_NS		0x58	/* device time, nanoseconds */
#define CCAD_STAT_COUNT			12

/* Context blocks, for the kernel alone: CCAD_CTX(n) + offset. */
#define CCAD_CTX_CTRL			0x00	/* RW u32 */
#define   CCAD_CTX_CTRL_ENABLE		0x1	/* 1: latch the block and run */
#define CCAD_CTX_STATUS			0x04	/* RO u32 */
#define   CCAD_CTX_STATE_MASK		0x0000000f
#define   CCAD_CTX_DISABLED		0	/* no command is in flight */
#define   CCAD_CTX_ENABLED		1
#define   CCAD_CTX_ERROR		2	/* stopped until CCAD_DB_CLEAR */
#define   CCAD_CTX_DRAINING		3	/* disabled, commands still end */
#define   CCAD_CTX_CAUSE_SHIFT		8	/* 8 bits: enum of CCAD_CAUSE_* */
#define   CCAD_CTX_CAUSE_MASK		0x0000ff00
#define   CCAD_CAUSE_NONE		0
#define   CCAD_CAUSE_CONFIG		1	/* the block cannot be latched */
#define   CCAD_CAUSE_RING		2	/* a descriptor could not be read */
#define   CCAD_CAUSE_COMPLETION		3	/* a completion could not be written */
#define   CCAD_CAUSE_DOORBELL		4	/* tail beyond the end of the ring */
#define CCAD_CTX_PASID			0x08	/* RW u32, 20 bits */
#define CCAD_CTX_VECTOR			0x0c	/* RW u32, MSI-X vector of completions */
#define CCAD_CTX_RING			0x10	/* RW u64, virtual address, page aligned */
#define CCAD_CTX_RING_SHIFT		0x18	/* RW u32, log2 of descriptors in the ring */
#define CCAD_RING_SHIFT_MIN		1
#define CCAD_RING_SHIFT_MAX		16
#define CCAD_PASID_MAX			0xfffff

/*
 * Doorbell pages, made to be mapped into a process: CCAD_DOORBELL(n) + offset.
 * TAIL and HEAD count descriptors and run freely, modulo 2^32; descriptor i
 * lies at ring[i & (entries - 1)].
 */
#define CCAD_DB_TAIL			0x00	/* RW u32, the doorbell */
#define CCAD_DB_HEAD			0x04	/* RO u32, commands fetched */
#define CCAD_DB_STATUS			0x08	/* RO u32, as CCAD_CTX_STATUS */
#define CCAD_DB_CLEAR			0x0c	/* WO u32, 1: leave CCAD_CTX_ERROR, HEAD = TAIL */

/* MSI-X vectors; any vector may also be that of a context. */
#define CCAD_VECTOR_EVENT		0

/* Opcodes.  Every address is a virtual address of the context's PASID. */
#define CCAD_OP_NOP			0
#define CCAD_OP_FENCE			1	/* all earlier commands have ended */
#define CCAD_OP_COPY			2	/* len bytes of src to dst, not overlapping */
#define CCAD_OP_FILL			3	/* len bytes of dst with arg, repeated */
#define CCAD_OP_CRC32C			4	/* of len bytes of src, arg: the CRC so far */

/* Descriptor flags. */
#define CCAD_DESC_INTERRUPT		0x0001	/* raise the context's vector at the end */
#define CCAD_DESC_NO_PAGE_REQUEST	0x0002	/* a page not present fails at once */

/**
 * struct ccad_desc - one command, 64 bytes, in a ring
 * @opcode: CCAD_OP_*
 * @rsvd0: zero
 * @flags: CCAD_DESC_*
 * @tag: given back in the completion record
 * @completion: address of a struct ccad_completion, 64-byte aligned, or 0
 * @src: address to read from
 * @dst: address to write to
 * @len: bytes
 * @arg: operand of the opcode
 * @rsvd1: zero
 */
struct ccad_desc {
	__u8 opcode;
	__u8 rsvd0;
	__u16 flags;
	__u32 tag;
	__u64 completion;
	__u64 src;
	__u64 dst;
	__u64 len;
	__u64 arg;
	__u64 rsvd1[2];
};

/* Status of a completion record. */
#define CCAD_COMP_NONE			0	/* not written yet */
#define CCAD_COMP_SUCCESS		1
#define CCAD_COMP_INVALID_OPCODE	2
#define CCAD_COMP_INVALID_FIELD		3	/* reserved bits, alignment, overlap, wrap */
#define CCAD_COMP_PAGE_FAULT		4	/* fault_addr and access say where */
#define CCAD_COMP_ABORTED		5	/* the context was disabled */
#define CCAD_COMP_BUS_ERROR		6	/* translated, but nothing answers there */

#define CCAD_ACCESS_READ		0x1
#define CCAD_ACCESS_WRITE		0x2

/**
 * struct ccad_completion - how a command ended, 64 bytes
 * @status: CCAD_COMP_*; written last, so the rest is valid once it is not 0
 * @access: CCAD_ACCESS_* of the access that failed
 * @rsvd0: zero
 * @tag: of the descriptor
 * @result: of the opcode (the CRC)
 * @fault_addr: the address that failed, byte exact where the failing access
 *	began, or 0
 * @bytes_done: bytes processed, all of them before @fault_addr
 * @device_ns: device time that the command took, nanoseconds
 * @bytes_local: bytes of the accesses that met local memory
 * @atc_hits: page accesses that the ATC served
 * @translations: ATS requests
 * @page_requests: PRI requests
 * @rsvd1: zero
 */
struct ccad_completion {
	__u8 status;
	__u8 access;
	__u16 rsvd0;
	__u32 tag;
	__u64 result;
	__u64 fault_addr;
	__u64 bytes_done;
	__u64 device_ns;
	__u64 bytes_local;
	__u32 atc_hits;
	__u32 translations;
	__u32 page_requests;
	__u32 rsvd1;
};

#define CCAD_ASSERT_AT(type, field, offset) \
	static_assert(__builtin_offsetof(struct type, field) == (offset), \
		      #type "." #field)

static_assert(sizeof(struct ccad_desc) == 64, "descriptor");
CCAD_ASSERT_AT(ccad_desc, opcode, 0);
CCAD_ASSERT_AT(ccad_desc, flags, 2);
CCAD_ASSERT_AT(ccad_desc, tag, 4);
CCAD_ASSERT_AT(ccad_desc, completion, 8);
CCAD_ASSERT_AT(ccad_desc, src, 16);
CCAD_ASSERT_AT(ccad_desc, dst, 24);
CCAD_ASSERT_AT(ccad_desc, len, 32);
CCAD_ASSERT_AT(ccad_desc, arg, 40);
CCAD_ASSERT_AT(ccad_desc, rsvd1, 48);
static_assert(sizeof(struct ccad_completion) == 64, "completion");
CCAD_ASSERT_AT(ccad_completion, status, 0);
CCAD_ASSERT_AT(ccad_completion, access, 1);
CCAD_ASSERT_AT(ccad_completion, tag, 4);
CCAD_ASSERT_AT(ccad_completion, result, 8);
CCAD_ASSERT_AT(ccad_completion, fault_addr, 16);
CCAD_ASSERT_AT(ccad_completion, bytes_done, 24);
CCAD_ASSERT_AT(ccad_completion, device_ns, 32);
CCAD_ASSERT_AT(ccad_completion, bytes_local, 40);
CCAD_ASSERT_AT(ccad_completion, atc_hits, 48);
CCAD_ASSERT_AT(ccad_completion, translations, 52);
CCAD_ASSERT_AT(ccad_completion, page_requests, 56);
CCAD_ASSERT_AT(ccad_completion, rsvd1, 60);
static_assert(CCAD_CTX(CCAD_MAX_CONTEXTS) <= CCAD_DOORBELL_BASE, "BAR0 overlaps");
static_assert(CCAD_REG_STATS + CCAD_STAT_COUNT * 8 <= CCAD_CTX_BASE, "BAR0 overlaps");

#endif /* CCAD_HW_H */
