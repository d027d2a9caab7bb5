# SPDX-License-Identifier: GPL-2.0-or-later
"""The series' check of who walks nodes: does it notice what it has to notice?"""

import pathlib
import re
import runpy
import subprocess
import sys
import tempfile
import unittest

from ccad_tool import kernel, trees

SCRIPT = "scripts/check-node-walkers.py"
TABLE = "Documentation/mm/coherent-device-memory-walkers.rst"

SOURCE = """\
#include <linux/nodemask.h>

/* for_each_online_node(nid) in a comment is none */
static const char *text = "for_each_node(nid)";

#define for_each_thing(t, nid)	\\
	for_each_node_state(nid, N_MEMORY)

static nodemask_t start = { .bits = { 0 } };

SYSCALL_DEFINE1(walk, int, x)
{
	int nid;

	for_each_online_node(nid)
		count(nid);
	return node_states[N_MEMORY].bits[0];
}

#ifdef CONFIG_A
static int half(int nid)
{
	if (nid) {
#else
static int half(void)
{
	{
#endif
		return first_online_node;
	}
}

static bool __init after(struct thing *t)
{
	int i;

	for (i = 0; i < MAX_NUMNODES; i++)
		t->node_online = 1;
	return t->next_node(t);
}
"""

ROWS = """\
   mm/a.c, after, MAX_NUMNODES, boot, because
   mm/a.c, for_each_thing, for_each_node_state, left out, because
   mm/a.c, half, first_online_node, left out, "because, and why"
   mm/a.c, walk, for_each_online_node node_states, included, because
"""


def script():
    """The script as the series brings it, or None."""
    for p in trees.series(kernel.PATCHES):
        text = p.read_text(errors="replace")
        if f"+++ b/{SCRIPT}\n" not in text:
            continue
        part = text.split(f"+++ b/{SCRIPT}\n", 1)[1]
        part = re.split(r"^(?:diff --git |-- $)", part, maxsplit=1, flags=re.M)[0]
        return "".join(line[1:] + "\n" for line in part.splitlines() if line.startswith("+"))
    return None


class Walkers(unittest.TestCase):
    def setUp(self):
        text = script()
        if text is None:
            self.skipTest("the series has no table of walkers")
        self.tmp = tempfile.TemporaryDirectory()
        self.addCleanup(self.tmp.cleanup)
        self.top = pathlib.Path(self.tmp.name)
        self.write(SCRIPT, text)
        self.write("mm/a.c", SOURCE)
        self.table(ROWS)

    def write(self, rel, text):
        p = self.top / rel
        p.parent.mkdir(parents=True, exist_ok=True)
        p.write_text(text)

    def table(self, rows):
        self.write(TABLE, "Title\n=====\n\n.. csv-table::\n   :header: File, Function, Walks with, "
                          f"For the node, Why\n\n{rows}\nEnd\n")

    def run_script(self, *args):
        p = subprocess.run([sys.executable, self.top / SCRIPT, *args], capture_output=True,
                           text=True, check=False)
        return p.returncode, p.stdout + p.stderr

    def test_agreement(self):
        self.assertEqual(self.run_script(), (0, "4 places, 4 rows, 0 complaints\n"))

    def test_each_missing_row_is_named(self):
        rows = ROWS.splitlines(keepends=True)
        for i, row in enumerate(rows):
            self.table("".join(rows[:i] + rows[i + 1:]))
            code, said = self.run_script()
            function = row.split(",")[1].strip()
            self.assertEqual(code, 1, row)
            self.assertIn(f"mm/a.c: {function}(): not in the table", said)

    def test_new_walker(self):
        self.write("mm/b.c", "void f(void)\n{\n\tint n;\n\n\tfor_each_node(n)\n\t\tg(n);\n}\n")
        code, said = self.run_script()
        self.assertEqual(code, 1)
        self.assertIn("mm/b.c: f(): not in the table: for_each_node", said)

    def test_new_idiom_in_a_known_function(self):
        self.write("mm/a.c", SOURCE.replace("count(nid);", "count(first_node(mask));"))
        code, said = self.run_script()
        self.assertEqual(code, 1)
        self.assertIn("mm/a.c: walk(): not in the table: first_node", said)

    def uses(self, body, idioms):
        """A function with such a body is a place with these idioms."""
        self.write("mm/b.c", f"void f(void)\n{{\n{body}\n}}\n")
        code, said = self.run_script()
        self.assertEqual(code, 1, body)
        self.assertIn(f"mm/b.c: f(): not in the table: {idioms}\n", said)

    def test_zones_of_one_node(self):
        for body, idioms in (
                ("for (z = pgdat->nr_zones - 1; z >= 0; z--)\ng(z);", "pgdat->nr_zones"),
                ("for (i = highest_zoneidx; i >= 0; i--)\ng(i);", "highest_zoneidx"),
                ("for (i = 0; i <= sc->reclaim_idx; i++)\ng(i);", "sc->reclaim_idx"),
                ("for (i = 0; i < ZONE_NORMAL; i++)\ng(pgdat->node_zones + i);", "node_zones"),
                ("while (i < MAX_NR_ZONES)\ng(i++);", "MAX_NR_ZONES")):
            with self.subTest(body):
                self.uses(body, idioms)
        # Zones of something else
        self.write("mm/b.c", "void f(struct d *d)\n{\n\tfor (int i = 0; i < d->nr_zones; i++)\n\t\tg(i);\n}\n")
        self.assertEqual(self.run_script()[0], 0)

    def test_masks_of_nodes(self):
        for body, idioms in (
                ("return nodes_intersects(*mask, tsk->mems_allowed);", "mems_allowed nodes_intersects"),
                ("return node_isset(nid, pol->nodes);", "node_isset"),
                ("return nodes_subset(pol->nodes, *mask);", "nodes_subset"),
                ("nodes_and(*mask, *mask,\n\t  cs->effective_mems);", "effective_mems nodes_and"),
                ("node_set_state(nid, N_MEMORY);", "node_set_state")):
            with self.subTest(body):
                self.uses(body, idioms)

    def test_every_idiom_by_itself(self):
        names = runpy.run_path(str(self.top / SCRIPT))
        uses = {"CALLS": "{}(x);", "NAMES": "g({});", "MEMBERS": "g(x->{});"}
        idioms = [(use.format(idiom), idiom) for key, use in uses.items() for idiom in names[key]]
        for i, (body, _) in enumerate(idioms):
            self.write(f"mm/b{i}.c", f"void f(void)\n{{\n\t{body}\n}}\n")
        said = self.run_script()[1].splitlines()
        for i, (_, idiom) in enumerate(idioms):
            self.assertIn(f"mm/b{i}.c: f(): not in the table: {idiom}", said)

    def test_what_is_gone(self):
        self.write("mm/a.c", SOURCE.replace("SYSCALL_DEFINE1(walk,", "SYSCALL_DEFINE1(stroll,"))
        code, said = self.run_script()
        self.assertEqual(code, 1)
        self.assertIn("mm/a.c: walk(): in the table, not in the tree", said)
        self.assertIn("mm/a.c: stroll(): not in the table", said)

    def test_row_without_a_reason(self):
        self.table(ROWS.replace("boot, because", "boot,"))
        code, said = self.run_script()
        self.assertEqual(code, 1)
        self.assertIn("missing", said)

    def test_help(self):
        code, said = self.run_script("--help")
        self.assertEqual(code, 0)
        self.assertIn("--list", said)


if __name__ == "__main__":
    unittest.main()
