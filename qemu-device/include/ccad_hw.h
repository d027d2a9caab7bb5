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
#define   CCAD_DVSEC_FLAG_VOLATILE	0x0002	/* lost at a reset, but for CCAD_CTRL_RESET */
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
#define   CCAD_VERSION			0x00010002
#define CCAD_REG_CAPS			0x008	/* RO u64 */
#define   CCAD_CAPS_CONTEXTS_SHIFT	0	/* 16 bits: contexts */
#define   CCAD_CAPS_CONTEXTS_MASK	0xffff
#define   CCAD_CAPS_ENGINES_SHIFT	16	/* 8 bits: engines */
#define   CCAD_CAPS_ENGINES_MASK	0xff
#define   CCAD_CAPS_RING_SHIFT		24	/* 8 bits: log2 of the longest ring */
#define   CCAD_CAPS_RING_MASK		0xff
#define   CCAD_CAPS_COUNTERS_SHIFT	32	/* 32 bits: granules counted at once */
#define   CCAD_CAPS_COUNTERS_MASK	0xffffffff
#define CCAD_REG_OPCODES		0x010	/* RO u64, bit n: opcode n works */
#define CCAD_REG_CTRL			0x018	/* RW u32 */
#define   CCAD_CTRL_ENABLE		0x1	/* engines may run */
#define   CCAD_CTRL_RESET		0x2	/* reset the device; reads as 0 */
#define CCAD_REG_STATUS			0x01c	/* RO u32 */
#define   CCAD_STATUS_READY		0x1	/* enabled and not resetting */
#define CCAD_REG_MEM_SIZE		0x020	/* RO u64, bytes of local memory */
#define CCAD_REG_EVENT			0x028	/* RW1C u32, raises CCAD_VECTOR_EVENT */
#define   CCAD_EVENT_CTX_ERROR		0x1	/* a context entered CCAD_CTX_ERROR */
#define   CCAD_EVENT_POISON		0x2	/* a command met poison, CCAD_REG_POISON_ADDR */
#define   CCAD_EVENT_COUNTERS		0x4	/* CCAD_REG_CNT_STATUS has news */
#define CCAD_REG_EVENT_MASK		0x02c	/* RW u32, 1: the event interrupts */
#define CCAD_REG_CLOCK			0x030	/* RO u64, device time, nanoseconds */

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
#define CCAD_STAT_FAULTS		0x60	/* commands ended with a page fault */
#define CCAD_STAT_COUNT			13

/*
 * Access counters: how often engines touched each granule of a PASID's
 * address space, for the kernel alone.  One access to a 64-byte line counts
 * one; an access that touches several lines counts each of them.
 */
#define CCAD_REG_CNT_CTRL		0x200	/* RW u32 */
#define   CCAD_CNT_ENABLE		0x1	/* 1: latch the block, forget all, count */
#define CCAD_REG_CNT_STATUS		0x204	/* RW1C u32, raises CCAD_EVENT_COUNTERS */
#define   CCAD_CNT_TABLE_FULL		0x1	/* accesses were not counted, CCAD_REG_CNT_LOST */
#define   CCAD_CNT_RING_FULL		0x2	/* a notification found no room */
#define   CCAD_CNT_RING_ERROR		0x4	/* one could not be written, or TAIL is wrong */
#define   CCAD_CNT_CONFIG		0x8	/* the block cannot be latched */
#define CCAD_REG_CNT_GRANULE_SHIFT	0x208	/* RW u32, log2 of the granule's bytes */
#define CCAD_GRANULE_SHIFT_MIN		12
#define CCAD_GRANULE_SHIFT_MAX		21
#define CCAD_GRANULE_SHIFT_DEFAULT	21	/* after reset, and in the DVSEC */
#define CCAD_REG_CNT_THRESHOLD		0x20c	/* RW u32, accesses for a notification, 0: none */
#define CCAD_CNT_THRESHOLD_DEFAULT	256	/* after reset */
#define CCAD_REG_CNT_BATCH		0x210	/* RW u32, unread notifications that interrupt */
#define CCAD_CNT_BATCH_DEFAULT		256	/* after reset */
#define CCAD_REG_CNT_VECTOR		0x214	/* RW u32, MSI-X vector of notifications */
#define CCAD_REG_CNT_RING		0x218	/* RW u64, bus address, page aligned */
#define CCAD_REG_CNT_RING_SHIFT		0x220	/* RW u32, log2 of records in the ring */
#define CCAD_REG_CNT_HEAD		0x224	/* RO u32, notifications written */
#define CCAD_REG_CNT_TAIL		0x228	/* RW u32, notifications read by software */
#define CCAD_REG_CNT_LOST		0x230	/* RO u64, accesses not counted */
#define CCAD_REG_CNT_PASID		0x238	/* RW u32, operand of the command */
#define CCAD_REG_CNT_VA			0x240	/* RW u64, operand of the command */
#define CCAD_REG_CNT_CMD		0x248	/* WO u32, done when the write returns */
#define   CCAD_CNT_CMD_READ		1	/* the granule of VA to the results */
#define   CCAD_CNT_CMD_READ_CLEAR	2	/* the same, and zero it, in one step */
#define   CCAD_CNT_CMD_CLEAR_PASID	3
#define   CCAD_CNT_CMD_CLEAR_ALL	4
#define   CCAD_CNT_CMD_FLUSH		5	/* interrupt if any notification is unread */
#define CCAD_REG_CNT_READ_LOCAL		0x250	/* RO u64, results of the command */
#define CCAD_REG_CNT_READ_SYSTEM	0x258
#define CCAD_REG_CNT_WRITE_LOCAL	0x260
#define CCAD_REG_CNT_WRITE_SYSTEM	0x268

/* Poison in local memory; addresses are offsets into it. */
#define CCAD_REG_POISON_ADDR		0x2c0	/* RO u64, met first since the event was cleared */
#define CCAD_REG_POISON_LINES		0x2c8	/* RO u64, 64-byte lines poisoned now */
#define CCAD_POISON_LINE		64

/* Context blocks, for the kernel alone: CCAD_CTX(n) + offset. */
#define CCAD_CTX_CTRL			0x00	/* RW u32 */
#define   CCAD_CTX_CTRL_ENABLE		0x1	/* 1: latch the block and run */
#define   CCAD_CTX_CTRL_PHYSICAL	0x2	/* physical addresses, see CCAD_OP_COPY_PAGES */
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
#define   CCAD_CAUSE_TIMEOUT		5	/* a command took longer than TIMEOUT_MS */
#define CCAD_CTX_PASID			0x08	/* RW u32, 20 bits */
#define CCAD_CTX_VECTOR			0x0c	/* RW u32, MSI-X vector of completions */
#define CCAD_CTX_RING			0x10	/* RW u64, virtual address, page aligned */
#define CCAD_CTX_RING_SHIFT		0x18	/* RW u32, log2 of descriptors in the ring */
#define CCAD_CTX_PRIORITY		0x1c	/* RW u32, share of device time is 2^priority */
#define CCAD_PRIORITY_MAX		7
#define CCAD_CTX_SLICE_NS		0x20	/* RW u32, time slice in device time, 0: default */
#define CCAD_CTX_TIMEOUT_MS		0x24	/* RW u32, longest command, real time, 0: none */
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

#define CCAD_DB_CLOCK			0x10	/* RO u64, the context's device time, nanoseconds */

/* MSI-X vectors; any vector may also be that of a context. */
#define CCAD_VECTOR_EVENT		0

/*
 * Opcodes.  Every address is a virtual address of the context's PASID, or a
 * physical one with CCAD_CTX_CTRL_PHYSICAL.  docs/specs/ccad.rst says what
 * each does with its operands and how it fails.
 */
#define CCAD_OP_NOP			0
#define CCAD_OP_FENCE			1	/* all earlier commands have ended */
#define CCAD_OP_COPY			2	/* len bytes of src to dst, not overlapping */
#define CCAD_OP_FILL			3	/* len bytes of dst with arg, repeated */
#define CCAD_OP_CRC32C			4	/* of len bytes of src, arg: the CRC so far */
#define CCAD_OP_COMPARE			5	/* len of src and dst; result: bytes alike */
#define CCAD_OP_REDUCE			6	/* len bytes of src by CCAD_REDUCE_* in arg */
#define CCAD_OP_FETCH_ADD		7	/* arg to dst, len 4 or 8; result: what it was */
#define CCAD_OP_COMPARE_SWAP		8	/* arg2 to dst if it is arg; result: what it was */
#define CCAD_OP_GATHER			9	/* elements of a table at arg by indices at src */
#define CCAD_OP_LIST_WALK		10	/* follow pointers from src, reduce a field */
#define CCAD_OP_COMPRESS		11	/* len bytes of src to dst, arg bytes at most */
#define CCAD_OP_DECOMPRESS		12	/* the same back; result: bytes written */
#define CCAD_OP_COPY_PAGES		13	/* struct ccad_page_copy at src, 1 << arg a page */

/*
 * Reductions, arg of CCAD_OP_REDUCE: what, type << 8.  Elements are taken one
 * after the other, in int64 or double; of none the sum is 0, the minimum the
 * greatest value, the maximum the least.  Any NaN makes the result a NaN,
 * 0x7ff8000000000000.
 */
#define CCAD_REDUCE_SUM			0	/* integers wrap */
#define CCAD_REDUCE_MIN			1
#define CCAD_REDUCE_MAX			2
#define CCAD_REDUCE_TYPE_SHIFT		8
#define CCAD_TYPE_INT32			0	/* the result is an int64 */
#define CCAD_TYPE_INT64			1
#define CCAD_TYPE_FLOAT			2	/* the result is a double, IEEE 754 */
#define CCAD_TYPE_DOUBLE		3

/* arg2 of CCAD_OP_GATHER; len: bytes of the index list. */
#define CCAD_GATHER_ELEMENT_MASK	0xff	/* log2 of an element's bytes, 0 to 6 */
#define CCAD_GATHER_INDEX64		0x100	/* indices are u64, not u32 */

/*
 * CCAD_OP_LIST_WALK: src is the first node, arg the reduction, len the most
 * nodes.  arg2: offset in the node of the pointer to the next one, a null
 * pointer ends the list, and << 32 that of the field.  bytes_done counts nodes;
 * fault_addr of CCAD_COMP_LIMIT is the node to go on with.
 */
#define CCAD_LIST_FIELD_SHIFT		32

/* arg2 of CCAD_OP_COMPRESS and CCAD_OP_DECOMPRESS: format, level << 8. */
#define CCAD_FORMAT_ZLIB		0	/* RFC 1950 */
#define CCAD_FORMAT_GZIP		1	/* RFC 1952 */
#define CCAD_FORMAT_RAW			2	/* RFC 1951 */
#define CCAD_FORMAT_LEVEL_SHIFT		8	/* 0: default, else 1 to 9 */

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
 * @arg2: operand of the opcode
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
	__u64 arg2;
	__u64 rsvd1;
};

/* Status of a completion record. */
#define CCAD_COMP_NONE			0	/* not written yet */
#define CCAD_COMP_SUCCESS		1
#define CCAD_COMP_INVALID_OPCODE	2
#define CCAD_COMP_INVALID_FIELD		3	/* reserved bits, alignment, overlap, wrap */
#define CCAD_COMP_PAGE_FAULT		4	/* fault_addr and access say where */
#define CCAD_COMP_ABORTED		5	/* the context was disabled */
#define CCAD_COMP_BUS_ERROR		6	/* translated, but nothing answers there */
#define CCAD_COMP_POISON		7	/* fault_addr lies in poisoned local memory */
#define CCAD_COMP_LIMIT			8	/* the list is longer than len */
#define CCAD_COMP_CYCLE			9	/* the list leads back to itself */
#define CCAD_COMP_NO_ROOM		10	/* the output is longer than arg */
#define CCAD_COMP_BAD_DATA		11	/* not of the format, or damaged */
#define CCAD_COMP_TIMEOUT		12	/* longer than CCAD_CTX_TIMEOUT_MS */

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

/**
 * struct ccad_page_copy - one page of CCAD_OP_COPY_PAGES
 * @src: physical address to read from, aligned to the page
 * @dst: physical address to write to, aligned to the page
 */
struct ccad_page_copy {
	__u64 src;
	__u64 dst;
};

/**
 * struct ccad_counter_record - a granule reached the threshold, 64 bytes
 * @va: first address of the granule
 * @pasid: whose address space
 * @granule_shift: log2 of its bytes
 * @flags: CCAD_RECORD_*
 * @rsvd0: zero
 * @read_local: reads that met local memory since the counter was cleared
 * @read_system: reads that met system memory
 * @write_local: writes that met local memory
 * @write_system: writes that met system memory
 * @clock: device time when the access that reached it had been made, on the
 *	time line of CCAD_REG_CLOCK
 * @rsvd1: zero
 */
struct ccad_counter_record {
	__u64 va;
	__u32 pasid;
	__u8 granule_shift;
	__u8 flags;
	__u16 rsvd0;
	__u64 read_local;
	__u64 read_system;
	__u64 write_local;
	__u64 write_system;
	__u64 clock;
	__u64 rsvd1;
};

#define CCAD_RECORD_LOST		0x01	/* notifications before this one were lost */

#define CCAD_ASSERT_AT(type, field, offset) \
	static_assert(__builtin_offsetof(struct type, field) == (offset), \
		      #type "." #field)

static_assert(sizeof(struct ccad_desc) == 64, "descriptor");
CCAD_ASSERT_AT(ccad_desc, opcode, 0);
CCAD_ASSERT_AT(ccad_desc, rsvd0, 1);
CCAD_ASSERT_AT(ccad_desc, flags, 2);
CCAD_ASSERT_AT(ccad_desc, tag, 4);
CCAD_ASSERT_AT(ccad_desc, completion, 8);
CCAD_ASSERT_AT(ccad_desc, src, 16);
CCAD_ASSERT_AT(ccad_desc, dst, 24);
CCAD_ASSERT_AT(ccad_desc, len, 32);
CCAD_ASSERT_AT(ccad_desc, arg, 40);
CCAD_ASSERT_AT(ccad_desc, arg2, 48);
CCAD_ASSERT_AT(ccad_desc, rsvd1, 56);
static_assert(sizeof(struct ccad_completion) == 64, "completion");
CCAD_ASSERT_AT(ccad_completion, status, 0);
CCAD_ASSERT_AT(ccad_completion, access, 1);
CCAD_ASSERT_AT(ccad_completion, rsvd0, 2);
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
static_assert(sizeof(struct ccad_page_copy) == 16, "page copy");
CCAD_ASSERT_AT(ccad_page_copy, src, 0);
CCAD_ASSERT_AT(ccad_page_copy, dst, 8);
static_assert(sizeof(struct ccad_counter_record) == 64, "counter record");
CCAD_ASSERT_AT(ccad_counter_record, va, 0);
CCAD_ASSERT_AT(ccad_counter_record, pasid, 8);
CCAD_ASSERT_AT(ccad_counter_record, granule_shift, 12);
CCAD_ASSERT_AT(ccad_counter_record, flags, 13);
CCAD_ASSERT_AT(ccad_counter_record, rsvd0, 14);
CCAD_ASSERT_AT(ccad_counter_record, read_local, 16);
CCAD_ASSERT_AT(ccad_counter_record, read_system, 24);
CCAD_ASSERT_AT(ccad_counter_record, write_local, 32);
CCAD_ASSERT_AT(ccad_counter_record, write_system, 40);
CCAD_ASSERT_AT(ccad_counter_record, clock, 48);
CCAD_ASSERT_AT(ccad_counter_record, rsvd1, 56);
static_assert(CCAD_CTX(CCAD_MAX_CONTEXTS) <= CCAD_DOORBELL_BASE, "BAR0 overlaps");
static_assert(CCAD_REG_STATS + CCAD_STAT_COUNT * 8 <= CCAD_REG_CNT_CTRL, "statistics overlap");
static_assert(CCAD_REG_CNT_WRITE_SYSTEM + 8 <= CCAD_REG_POISON_ADDR, "counters overlap");
static_assert(CCAD_REG_POISON_LINES + 8 <= CCAD_CTX_BASE, "BAR0 overlaps");
static_assert(CCAD_CTX_TIMEOUT_MS + 4 <= CCAD_CTX_STRIDE, "context blocks overlap");
static_assert(CCAD_DB_STATS + CCAD_STAT_COUNT * 8 <= CCAD_DOORBELL_STRIDE, "doorbells overlap");

#endif /* CCAD_HW_H */
