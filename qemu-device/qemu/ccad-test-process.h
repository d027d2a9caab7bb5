/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * For the qtests of ccad: a machine without a guest in which the device has a
 * context, and the context a process, whose page tables are written here.
 */
#ifndef CCAD_TEST_PROCESS_H
#define CCAD_TEST_PROCESS_H

#include "ccad-test.h"
#include "qobject/qdict.h"
#include "libqos/qos-intel-iommu.h"

#define DEVFN       QPCI_DEVFN(4, 0)
#define VTD         Q35_HOST_BRIDGE_IOMMU_ADDR

#define PASID       5
#define PASID2      6
#define IQ_ENTRIES  128     /* of 256 bits */

/*
 * The process: 512 pages from VA on, of which the first SETUP_PAGES are mapped
 * to guest physical memory from PAGES on.
 */
#define PAGES       0x12000000ULL
#define VA          0x7f0000000000ULL
#define SETUP_PAGES 16
#define PAGE(n)     ((n) * 0x1000ULL)
#define RING        (VA + PAGE(0))
#define RECORDS     (VA + PAGE(1))
#define RING_SHIFT  4

#define PTE_RW      (VTD_FS_P | VTD_FS_RW | VTD_FS_US)
#define PTE_RO      (VTD_FS_P | VTD_FS_US)
#define PTE_HUGE    0x80

/* Where a page of 2 MiB may be, and memory for one. */
#define HUGE_VA     (VA + 0x200000)
#define HUGE_PAGE   0x13000000ULL

#define CCAD_PROCESS CCAD_IOMMU CCAD_LOCAL \
                     "-device ccad,id=ccad0,addr=04.0,memdev=local"

typedef struct Ccad {
    QTestState *qts;
    char *machine;      /* its command line */
    QPCIBus *bus;
    QPCIDevice *port;   /* above the device, or NULL */
    QPCIDevice *dev;
    uint16_t sid;       /* bus and function of the device */
    QPCIBar regs;
    QPCIBar mem;
    uint32_t iq_tail;
    uint32_t tail;      /* of context 0 */
} Ccad;

typedef struct PageRequest {
    uint64_t va;
    uint16_t group;
    bool read, write;
} PageRequest;

/* Address of extended configuration space. */
uint64_t cfg(Ccad *c, uint16_t offset);
/* The entry of a page in the tables of the process. */
void set_pte(Ccad *c, unsigned page, uint64_t pa, uint64_t bits);
uint64_t get_pte(Ccad *c, unsigned page);
/* Map HUGE_VA to 2 MiB at pa, or not at all if that is 0. */
void set_huge(Ccad *c, uint64_t pa);
/*
 * Another process, with tables in four pages from tables on, whose first pages
 * from VA on are mapped to physical ones from pages on.
 */
void set_up_pasid(Ccad *c, uint32_t pasid, uint64_t tables, uint64_t pages);
/* As a driver does: everything that a reset clears. */
void enable_device(Ccad *c);
/* CCAD_DB_STATUS */
uint32_t context_state(Ccad *c, unsigned n);
void enable_context(Ccad *c, unsigned n, uint64_t ring);
void enable_context_with(Ccad *c, unsigned n, uint64_t ring, uint32_t pasid);
/* The same, and it may fail. */
void try_context(Ccad *c, unsigned n, uint64_t ring, uint32_t pasid);
/* What PCI has of a machine that was started. */
void find(Ccad *c);
/* Everything that a machine loses when it is reset; the first part of it. */
void set_up(Ccad *c);
void set_up_buses(Ccad *c);
/* A machine with context 0 enabled, and its end. */
void start(Ccad *c);
void start_behind_port(Ccad *c, const char *options);
void stop(Ccad *c);
/* Guest physical address of the completion record of command i. */
uint64_t record(uint32_t i);
/* Commands of context 0; the tag and the record are set here. */
uint32_t submit(Ccad *c, struct ccad_desc d);
struct ccad_completion wait_for(Ccad *c, uint32_t i);
struct ccad_completion wait_for_record(Ccad *c, uint64_t pa);
struct ccad_completion run(Ccad *c, struct ccad_desc d);
/* CCAD_STAT_* of the device. */
uint64_t counter(Ccad *c, uint32_t which);
/* Queued invalidation; a descriptor is served when this returns. */
void queue(Ccad *c, uint64_t lo, uint64_t hi);
void invalidate_page(Ccad *c, uint64_t va);
/* Wait for a page request and take it out of the IOMMU's queue. */
PageRequest next_page_request(Ccad *c);
/* The same of a group of several, of which this is the last or not. */
PageRequest next_of_group(Ccad *c, bool last);
/* Code 0 is success, 1 an invalid request. */
void respond(Ccad *c, PageRequest *request, unsigned code);
/* Wait until context n has stopped with this cause, CCAD_CAUSE_*. */
void wait_for_error(Ccad *c, unsigned n, unsigned cause);
void disable_context(Ccad *c, unsigned n);
void flr(Ccad *c);
/* Put the device into the port that it has left, and enable it. */
void plug(Ccad *c);
/* A driver behind a port that wants to hear of errors. */
void enable_aer(Ccad *c);
/* Address of a register of the port's AER capability. */
uint64_t port_aer(uint16_t offset);
/* Wait for the port to have an error, and clear it. */
uint32_t wait_for_root_status(Ccad *c);
/* What query-ccad returns. */
QDict *info(Ccad *c);
/* A number in it, its names with dots between them. */
int64_t number(QDict *dict, const char *path);
/* Element n of the list of that name, or NULL. */
QDict *element(QDict *dict, const char *name, size_t n);
/* Wait for context 0, the first one enabled, to be somewhere. */
void wait_for_place(Ccad *c, const char *place);

#endif /* CCAD_TEST_PROCESS_H */
