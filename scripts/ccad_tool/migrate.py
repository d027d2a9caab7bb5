# SPDX-License-Identifier: GPL-2.0-or-later
"""A guest that moves from one QEMU to another on this machine, while it runs."""

import json
import time

from . import guest, procs
from .util import Fail

LIMIT = 120.0
# Mostly empty memory, over a socket: what it writes meanwhile is soon sent as well.
PARAMETERS = {"max-bandwidth": 4 << 30, "downtime-limit": 2000}


class Guest(guest.Guest):
    moves = 0
    _asked = 0

    def migrate(self, by_file=False):
        """Live, or by way of a file: saved, and restored by the other QEMU.

        Returns for how long the guest stood still, in milliseconds.
        """
        self.moves += 1
        where = self.dir / f"migration{self.moves}"
        uri = f"{'file' if by_file else 'unix'}:{where}"
        self.moving = True
        if by_file:
            said = self._away(uri)
            arrived = self._launch(("-incoming", uri))
        else:
            arrived = self._launch(("-incoming", uri))
            try:
                self._until(lambda: where.exists() or arrived[0].poll() is not None,
                            "migration: no QEMU listens")
                said = self._away(uri)
            except BaseException:
                procs.kill(arrived[0])
                raise
        self._receive()         # what was said before it left
        procs.kill(self.proc)
        self.chan.close()
        self.qmp.close()
        self.proc, self.chan, self.qmp = arrived
        self.went = False
        self._qmp_in = b""
        self._until(lambda: self._ask("query-status")["status"] == "running",
                    "migration: it does not go on")
        self.moving = False
        where.unlink(missing_ok=True)
        return said["downtime"]

    def _away(self, uri):
        def over():
            said = self._ask("query-migrate")
            if said.get("status") in ("failed", "cancelled"):
                raise Fail(f"migration: {said.get('error-desc') or said['status']}",
                           f"see {self.qemu_log}")
            return said if said.get("status") == "completed" else None

        self._ask("migrate-set-parameters", **PARAMETERS)
        self._ask("migrate", uri=uri)
        return self._until(over, "migration: it does not end")

    def _until(self, holds, otherwise):
        """What it says once that is true; otherwise what has gone wrong."""
        end = time.monotonic() + LIMIT
        while not (said := holds()):
            if time.monotonic() > end:
                raise Fail(otherwise, f"see {self.qemu_log}")
            self._step(time.monotonic() + 0.02)
        return said

    def _ask(self, command, **arguments):
        """What the monitor answers."""
        number = self._asked = self._asked + 1
        self.qmp.send(json.dumps({"execute": command, "arguments": arguments,
                                  "id": number}).encode() + b"\n")
        silent = f"QEMU does not answer to {command}"
        self._until(lambda: self.went or number in self._answers, silent)
        if number not in self._answers:
            raise Fail(silent, f"see {self.qemu_log}")
        said = self._answers.pop(number)
        if "error" in said:
            raise Fail(f"QEMU: {command}: {said['error']['desc']}", f"see {self.qemu_log}")
        return said["return"]
