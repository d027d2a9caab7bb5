/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef CCAD_AGENT_H
#define CCAD_AGENT_H

/* A line, with its level as <N>, in the kernel's log. */
void klog(const char *fmt, ...) __attribute__((format(printf, 1, 2)));

/* File systems, links, environment: before the first command. */
void setup(void);

#endif
