/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * ccad core: the whole behaviour of the device behind a C interface
 *
 * The core knows nothing of the machine around it.  A host (the QEMU shim, a
 * unit test, a fuzzer) gives it struct ccad_host_ops and calls the functions
 * below.
 *
 * Locks.  The host's big lock (BQL in QEMU) is outermost: the core calls the
 * host_ops with none of its own locks held, but for map, unmap, local_offset,
 * now_ns, set_timer and trace, which must not take the big lock.  Every function
 * below may be called with the big lock held and never waits for an engine
 * that is inside a host_op which may take it; ccad_core_delete() alone joins
 * the engine threads and has to be called without the big lock.
 *
 * A core has engine threads of its own, or none: with config.host_driven the
 * host's thread is the engine whenever it calls ccad_core_run().  Everything
 * then happens in the order of the host's calls, as fuzzers and measurements
 * want it; the rest is the same in both modes.
 *
 * Any thread may call any function at any time, with two exceptions: resets
 * and writes to CCAD_REG_CTRL and to the context blocks come one at a time
 * (the big lock sees to that), and ccad_core_delete() comes last.
 */
#ifndef CCAD_CORE_H
#define CCAD_CORE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef struct ccad_core ccad_core;

/* One translation: [va, va + len) is [pa, pa + len), len a power of two. */
typedef struct ccad_translation {
    uint64_t va;
    uint64_t pa;
    uint64_t len;
    bool read;      /* neither: not present, pa is meaningless */
    bool write;
} ccad_translation;

/* A step in the life of a command: what the arguments of trace are. */
typedef enum ccad_step {
    CCAD_STEP_TAKE,         /* by an engine: head, tail */
    CCAD_STEP_FETCH,        /* index in the stream of commands, opcode, tag */
    CCAD_STEP_HANG,         /* on purpose: tag */
    CCAD_STEP_DELAY,        /* nanoseconds and until when, as now_ns() */
    CCAD_STEP_TRANSLATE,    /* address, write, granted */
    CCAD_STEP_STALL,        /* for room to ask: address, write, pages */
    CCAD_STEP_ASK,          /* address, write, group */
    CCAD_STEP_ANSWER,       /* address, write, good */
    CCAD_STEP_LOSE_RECORD,  /* on purpose: tag, status */
    CCAD_STEP_COMPLETE,     /* tag, status, device time of its operands */
    CCAD_STEP_INTERRUPT,    /* vector */
    CCAD_STEP_LOSE_INTERRUPT, /* on purpose: vector */
    CCAD_STEP_SLICE_END,    /* more to do, head, tail */
    CCAD_STEP_ERROR,        /* cause, head, tail */
} ccad_step;

typedef enum ccad_response {
    CCAD_RESPONSE_SUCCESS = 0,
    CCAD_RESPONSE_INVALID = 1,
    CCAD_RESPONSE_FAILURE = 0xf,
    CCAD_RESPONSE_BUSY,     /* none of PCIe's: it got lost, ask again later */
} ccad_response;

/* What the error operation reports. */
typedef enum ccad_error {
    CCAD_ERROR_POISON,  /* a command met poison; address: offset in local memory */
} ccad_error;

/*
 * translate and page_request are called by engines alone, without the big
 * lock; interrupt, locked and error by them and by register writes, with or
 * without it.
 */
typedef struct ccad_host_ops {
    /*
     * ATS: translate [va, va + len), page aligned, of pasid into at most max
     * entries in the order of addresses; write asks for write permission.
     * Returns the number of entries, or -1 if the request could not be made
     * (ATS off, bus master off, no such PASID).
     */
    int (*translate)(void *opaque, uint32_t pasid, uint64_t va, uint64_t len,
                     bool write, ccad_translation *out, size_t max);
    /*
     * PRI: request the n pages as the group prgi, the last one marked as the
     * last, with no other request of the group possible later.  The one answer
     * comes through ccad_core_page_response(), possibly before this returns.
     * Returns false if the requests could not be made (PRI off).
     */
    bool (*page_request)(void *opaque, uint32_t pasid, const uint64_t *pages,
                         size_t n, bool read, bool write, uint16_t prgi);
    /*
     * Make [pa, pa + *len) accessible to the calling thread, *len may shrink;
     * NULL if it is not memory.  unmap gives it back, with the bytes used.
     */
    void *(*map)(void *opaque, uint64_t pa, uint64_t *len, bool write);
    void (*unmap)(void *opaque, void *ptr, uint64_t len, bool write);
    /* Whether pa lies in the device's own memory, and if so where. */
    bool (*local_offset)(void *opaque, uint64_t pa, uint64_t *offset);
    /* Raise an MSI-X vector. */
    void (*interrupt)(void *opaque, uint32_t vector);
    /* Report an error of the device (AER). */
    void (*error)(void *opaque, ccad_error kind, uint64_t address);
    /* Call fn(arg) with the big lock held. */
    void (*locked)(void *opaque, void (*fn)(void *arg), void *arg);
    /*
     * Write to memory at a bus address, through the IOMMU and without a
     * PASID; called with the big lock held, so that nobody resets the device
     * meanwhile.  Returns false if it cannot be done (bus master off).
     */
    bool (*dma_write)(void *opaque, uint64_t addr, const void *buf,
                      uint64_t len);
    /*
     * The machine's time, nanoseconds; it stands still while the machine is
     * stopped.  Must not take the big lock.
     */
    uint64_t (*now_ns)(void *opaque);
    /*
     * Call ccad_core_timer() when now_ns has come to ns, once; forget what was
     * set before.  UINT64_MAX: do not call.  A lock of the core may be held:
     * it must neither call the core nor take the big lock.
     */
    void (*set_timer)(void *opaque, uint64_t ns);
    /* Called first and last by every engine thread of the core's own. */
    void (*thread_enter)(void *opaque);
    void (*thread_leave)(void *opaque);
    /*
     * A context is enabled with a PASID, which may be in use by others
     * already; it goes out of use with the last one.  Called from the register
     * write that does it, so with the big lock held.  bind returns false if
     * the PASID cannot be used now.
     */
    bool (*pasid_bind)(void *opaque, uint32_t pasid);
    void (*pasid_unbind)(void *opaque, uint32_t pasid);
    /*
     * Whether a context may be enabled to use physical addresses now (bus
     * master and ATS on, as for any translated address); called as pasid_bind.
     */
    bool (*physical_allowed)(void *opaque);
    /*
     * A step of a command of context; NULL if nobody wants to know.  Locks of
     * the core may be held: it must neither call the core nor wait.
     */
    void (*trace)(void *opaque, ccad_step step, uint32_t context, uint64_t a,
                  uint64_t b, uint64_t c);
} ccad_host_ops;

/* Cost model: device time of an access, see docs/specs/ccad.rst. */
typedef struct ccad_cost {
    uint32_t local_latency_ns;
    uint32_t local_mbps;            /* MiB/s */
    uint32_t system_latency_ns;
    uint32_t system_mbps;
    uint32_t translation_ns;        /* one ATS request */
    uint32_t page_request_ns;       /* one group of page requests */
} ccad_cost;

/*
 * Failures on purpose, each in so many of a million cases; the n-th decision
 * of a kind is a function of the seed, the kind and n.
 */
typedef struct ccad_injection {
    uint64_t seed;
    uint32_t lose_completion;       /* a completion record is not written */
    uint32_t lose_interrupt;        /* an interrupt is not raised */
    uint32_t fault_translation;     /* an ATS request is refused */
    uint32_t fault_page_request;    /* a group of page requests fails, unsent */
    uint32_t fault_command;         /* a command ends with a bus error */
    uint32_t delay_translation;     /* an ATS request waits before it is sent */
    uint32_t delay_page_request;    /* a group of page requests does */
    uint32_t delay_command;         /* a command waits before its first step */
    uint32_t delay_us;              /* longest delay, host's time, 0..10000000 */
} ccad_injection;

typedef struct ccad_config {
    uint32_t contexts;              /* 1..CCAD_MAX_CONTEXTS */
    uint32_t engines;               /* 1..64 threads */
    uint32_t atc_sets;              /* power of two, 1..65536 */
    uint32_t atc_ways;              /* 1..64 */
    uint32_t vectors;               /* MSI-X vectors */
    uint32_t page_requests;         /* most outstanding page requests, 1..512 */
    uint32_t page_request_group;    /* most pages in a group, 1..16 */
    uint32_t counters;              /* granules with a counter, 1..2^24 */
    uint64_t mem_size;              /* bytes of local memory, 0: none */
    uint32_t slice_ns;              /* time slice of contexts that set none */
    bool ordered;                   /* run contexts in the order of their clocks */
    ccad_cost cost;
    ccad_injection injection;
    bool host_driven;               /* no threads, see ccad_core_run() */
} ccad_config;

/*
 * Check config: NULL if it is good, else one static phrase that says which
 * field is wrong and what it takes.
 */
const char *ccad_config_check(const ccad_config *config);

/*
 * NULL only if threads or memory ran out, or if ccad_config_check() objects.
 * config and ops are copied.
 */
ccad_core *ccad_core_new(const ccad_config *config, const ccad_host_ops *ops,
                         void *opaque);
/*
 * Ends the engine threads. Call without the big lock; NULL is fine. Does not
 * unbind: reset first.
 */
void ccad_core_delete(ccad_core *core);

/*
 * With config.host_driven: be an engine until there is nothing to do, that is
 * until every context is idle, stopped, or waits for a page response.  Call it
 * without the big lock, from one thread at a time and not from a host_op.
 */
void ccad_core_run(ccad_core *core);

/* Size of BAR0 for so many contexts, bytes, a power of two. */
uint64_t ccad_bar_size(uint32_t contexts);

/* BAR0. Accesses the header does not allow read as ones and write nothing. */
uint64_t ccad_core_read(ccad_core *core, uint64_t offset, unsigned size);
void ccad_core_write(ccad_core *core, uint64_t offset, uint64_t value,
                     unsigned size);

/*
 * Invalidate [va, va + len) of pasid (ATS invalidation), or of every PASID if
 * global; up to the end of the address space if len is 0 or would pass it.
 * On return no engine touches, nor will touch, a page through a
 * translation obtained before the call.
 */
void ccad_core_invalidate(ccad_core *core, uint32_t pasid, bool global,
                          uint64_t va, uint64_t len);

/*
 * The time of set_timer() has come: end commands that take longer than
 * CCAD_CTX_TIMEOUT_MS.  Calls too early or too many do no harm.
 */
void ccad_core_timer(ccad_core *core);

/*
 * Fault injection: the next command that the context begins hangs until it is
 * stopped or timed out.  False if there is no such context, or it is not
 * enabled.
 */
bool ccad_core_hang(ccad_core *core, uint32_t context);

/*
 * The response to page request group prgi of pasid.  False if it answers
 * nothing that is outstanding: it is ignored.
 */
bool ccad_core_page_response(ccad_core *core, uint32_t pasid, uint16_t prgi,
                             ccad_response response);

/*
 * How many page requests may be outstanding: what software allocated, and
 * never more than page_requests of the configuration, which is where it
 * begins.  0 is for page requests switched off: those outstanding are
 * forgotten, and the commands that need them fail.  A reset leaves it as it
 * is.
 */
void ccad_core_page_request_allocation(ccad_core *core, uint32_t allocation);

/*
 * Reset everything software can see; unbinds the PASIDs in use. On return no engine touches memory on
 * behalf of what ran before, and outstanding page requests are forgotten.
 */
void ccad_core_reset(ccad_core *core);

/*
 * Poison the lines of CCAD_POISON_LINE bytes that [offset, offset + len) of
 * local memory touches, or clear their poison.  NULL, or one static phrase
 * that says what is wrong.  Poison stays at a reset: when local memory loses
 * its contents, the host clears all of it.
 */
const char *ccad_core_poison_inject(ccad_core *core, uint64_t offset,
                                    uint64_t len);
const char *ccad_core_poison_clear(ccad_core *core, uint64_t offset,
                                   uint64_t len);
/* Call each with every poisoned range, whole lines, in ascending order. */
void ccad_core_poison_list(ccad_core *core,
                           void (*each)(void *arg, uint64_t offset,
                                        uint64_t len),
                           void *arg);

/*
 * Wait until no engine is inside the host any more, after CCAD_REG_CTRL has
 * stopped them.  Call without the big lock.
 */
void ccad_core_quiesce(ccad_core *core);

/*
 * The state of the device while it is quiet, for ccad_core_load() of another
 * one; free() it.  NULL if it is not quiet, or memory ran out.  What the host
 * keeps (memory, PASIDs bound, page requests in its queue) is its own to save.
 */
uint8_t *ccad_core_save(ccad_core *core, size_t *size);
/*
 * Take over a state, whatever it holds: NULL, or one static phrase that says
 * what is wrong, and the device is as after a reset.  It stays stopped, and
 * binds no PASID: the host has bound those that were.
 */
const char *ccad_core_load(ccad_core *core, const uint8_t *data, size_t size);

/* One CCAD_STAT_* counter of the device. */
uint64_t ccad_core_stat(ccad_core *core, uint32_t stat);

/*
 * Commands ended, of the device since its reset and of a context since it was
 * enabled, by opcode; the last one is of opcodes that do not exist.
 */
#define CCAD_COMMAND_KINDS 15
uint64_t ccad_core_commands(ccad_core *core, uint32_t kind);

/*
 * What registers do not tell; the rest is read from them.  Registers read in
 * one piece have no side effects.
 */
typedef enum ccad_place {
    CCAD_PLACE_IDLE,        /* nothing to do, or not enabled */
    CCAD_PLACE_READY,       /* for an engine to become free */
    CCAD_PLACE_RUNNING,     /* with an engine */
    CCAD_PLACE_WAITING,     /* for the response to its page request */
    CCAD_PLACE_STALLED,     /* for room for its page requests */
    CCAD_PLACE_HUNG,        /* until it is stopped or timed out */
    CCAD_PLACE_DELAYED,     /* by fault injection */
} ccad_place;

typedef struct ccad_context_info {
    bool bound;             /* runs with what follows, latched */
    bool physical;
    uint32_t pasid;
    uint32_t vector;
    uint32_t ring_shift;
    uint64_t ring;
    uint32_t priority;
    uint32_t slice_ns;
    uint32_t timeout_ms;
    ccad_place place;
    uint64_t delayed_until_ns; /* as now_ns(), while it is delayed; else 0 */
    uint64_t position_ns;   /* on the device's time line */
    bool hang_armed;        /* the next command that it begins hangs */
    bool room_granted;      /* for its page requests, which are not sent yet */
    bool reply_untold;      /* to its page requests: it has yet to act on it */
    /* A command has been fetched and not ended, as an engine has left it. */
    bool in_flight;
    uint8_t opcode;
    uint32_t tag;
    uint64_t done;          /* as bytes_done of a completion record */
    uint64_t deadline_ns;   /* as now_ns(); UINT64_MAX: none */
    uint64_t commands[CCAD_COMMAND_KINDS];
} ccad_context_info;

void ccad_core_context_info(ccad_core *core, uint32_t context,
                            ccad_context_info *info);

typedef struct ccad_device_info {
    uint32_t page_request_allocation; /* as granted, 0: switched off */
    /* With config.ordered: until when on the time line each memory is busy. */
    uint64_t local_busy_ns;
    uint64_t system_busy_ns;
} ccad_device_info;

void ccad_core_device_info(ccad_core *core, ccad_device_info *info);

/* The context that an engine runs, -1 for none. */
int32_t ccad_core_engine_info(ccad_core *core, uint32_t engine);

/* Translations of 2^shift bytes that the ATC holds; shift 0: of all sizes. */
uint32_t ccad_core_atc_entries(ccad_core *core, uint32_t shift);
/* Call each, which must not call the core, with every one of them. */
void ccad_core_atc_list(ccad_core *core,
                        void (*each)(void *arg, uint32_t pasid,
                                     const ccad_translation *translation),
                        void *arg);

typedef struct ccad_page_request_info {
    uint32_t context;
    uint32_t pasid;
    uint16_t prgi;
    uint32_t pages;
} ccad_page_request_info;

/* The groups outstanding, at most max of them; returns how many. */
size_t ccad_core_page_requests(ccad_core *core, ccad_page_request_info *out,
                               size_t max);
/* The contexts that wait for room, the first one first; likewise. */
size_t ccad_core_page_request_line(ccad_core *core, uint32_t *out, size_t max);

#ifdef __cplusplus
}
#endif

#endif /* CCAD_CORE_H */
