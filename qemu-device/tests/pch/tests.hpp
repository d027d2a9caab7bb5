/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Precompiled: what every test includes. */
#include <gmock/gmock.h>
#include <gtest/gtest.h>
