/* SPDX-License-Identifier: GPL-2.0-only */
/* ccad-bench: one line a figure, NAME VALUE, units are those of the name. */
#ifndef BENCH_H
#define BENCH_H

/* Each figure is measured for so long, seconds. */
#define BENCH_SECONDS	1.0

double bench_now(void);
void bench_print(const char *name, unsigned long arg, double value);
/* Print why and exit. */
void bench_fail(const char *what, int error) __attribute__((noreturn));

/* Reads of 4 KiB a second with @depth in flight; nothing if there is no NVMe. */
void bench_nvme(const char *path, unsigned int depth);

#endif
