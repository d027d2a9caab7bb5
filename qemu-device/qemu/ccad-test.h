/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Shared by the qtests of ccad. */
#ifndef CCAD_TEST_H
#define CCAD_TEST_H

#include "hw/misc/ccad/include/ccad_hw.h"
#include "hw/pci/pci_regs.h"
#include "libqos/pci-pc.h"
#include "libqos/pci.h"
#include "libqtest.h"

/* An IOMMU for which the device was made; before any device. */
#define CCAD_IOMMU "-device intel-iommu,scalable-mode=on,fsts=on,svm=on," \
                   "pasid-bits=20,device-iotlb=on,aw-bits=48 "
/* The memory backend "local". */
#define CCAD_LOCAL "-object memory-backend-ram,id=local,size=16M "
#define CCAD_LOCAL_SIZE (16 << 20)
/* The port "rp", behind the IOMMU. */
#define CCAD_PORT CCAD_IOMMU "-device pcie-root-port,id=rp,slot=1 "
/* Node 0 with all memory, the backend "ram", and node 1 with nothing. */
#define CCAD_NUMA "-object memory-backend-ram,id=ram,size=512M " \
                  "-numa node,nodeid=0,memdev=ram -numa node,nodeid=1 "

/* Where extended configuration space is, once enabled. */
#define CCAD_ECAM 0xb0000000ULL

/*
 * Start q35 with these options; nothing runs in it, and the firmware is empty,
 * so that none need be installed.
 */
QTestState *ccad_qtest_start(const char *fmt, ...) G_GNUC_PRINTF(1, 2);
/*
 * Run a QEMU that ends by itself, with these options, quoted as in a shell.
 * Returns whether its exit code is 0; out and err are to be freed.
 */
bool ccad_qemu_run(const char *options, char **out, char **err);
/* As the firmware would do it. */
void ccad_enable_ecam(QPCIBus *bus);

/* ccad-iommu-test.c, ... */
void ccad_add_iommu_tests(void);
void ccad_add_migration_tests(void);
void ccad_add_notify_tests(void);
void ccad_add_options_tests(void);
void ccad_add_pri_tests(void);
void ccad_add_qmp_tests(void);
void ccad_add_query_tests(void);
void ccad_add_reset_tests(void);

#endif /* CCAD_TEST_H */
