# SPDX-License-Identifier: GPL-2.0-or-later
"""Entry point: python3 -I scripts/ccad_tool ARGS"""

import os
import sys

if sys.version_info < (3, 11):
    sys.exit("ccad: Python 3.11 or later is needed: this is Debian 12's")

sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.abspath(__file__))))

from ccad_tool.cli import main  # noqa: E402

sys.exit(main(sys.argv[1:]))
