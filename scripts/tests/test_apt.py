# SPDX-License-Identifier: GPL-2.0-or-later
"""Reading the machine's apt configuration."""

import pathlib
import tempfile
import unittest

from ccad_tool import apt

DEB822 = """\
# the comment of an image
Types: deb deb-src
# between fields
URIs: http://mirror.example/debian
Suites: bookworm bookworm-updates
Components: main
Signed-By: /usr/share/keyrings/debian-archive-keyring.gpg

Types: deb
URIs: http://mirror.example/debian-security
Suites: bookworm-security
Components: main contrib
Signed-By: /usr/share/keyrings/debian-archive-keyring.gpg

Enabled: no
Types: deb
URIs: http://off.example/debian
Suites: bookworm
Components: main
"""

LIST = """\
# a comment
deb [arch=amd64 signed-by=/etc/apt/keys/a.gpg] https://a.example/debian/ bookworm main contrib
deb-src https://a.example/debian bookworm main
deb cdrom:[Debian 12]/ bookworm main
deb https://third.example/apt stable main # trailing
garbage line
"""

EMBEDDED = """\
Types: deb
URIs: http://b.example/debian
Suites: bookworm
Components: main
Signed-By:
 -----BEGIN PGP PUBLIC KEY BLOCK-----
 .
 mQINBF
 -----END PGP PUBLIC KEY BLOCK-----
"""


class Parse(unittest.TestCase):
    def test_deb822(self):
        e = apt.parse_deb822(DEB822)
        self.assertEqual([(x.uri, x.suite) for x in e],
                         [("http://mirror.example/debian", "bookworm"),
                          ("http://mirror.example/debian", "bookworm-updates"),
                          ("http://mirror.example/debian-security", "bookworm-security")])
        self.assertEqual(e[0].types, ("deb", "deb-src"))
        self.assertEqual(e[2].components, ("main", "contrib"))

    def test_embedded_key_is_not_a_file(self):
        e, = apt.parse_deb822(EMBEDDED)
        self.assertEqual(e.signed_by, "")

    def test_one_line(self):
        e = apt.parse_list(LIST)
        self.assertEqual(e[0].uri, "https://a.example/debian/")
        self.assertEqual(e[0].signed_by, "/etc/apt/keys/a.gpg")
        self.assertEqual(e[0].components, ("main", "contrib"))
        self.assertEqual(e[1].types, ("deb-src",))
        self.assertEqual(e[-1].components, ("main",))

    def test_debian_of_this_release_only(self):
        both = apt.parse_list(LIST) + apt.parse_deb822(DEB822)
        e = apt.debian_entries(both, "bookworm")
        self.assertEqual(e[0].uri, "https://a.example/debian/")
        self.assertNotIn("https://third.example/apt", [x.uri for x in e])
        self.assertFalse([x for x in e if x.uri.startswith("cdrom:")])
        self.assertEqual(e[-1].suite, "bookworm-security")
        self.assertEqual(apt.debian_entries(both, "trixie"), [])

    def test_machine_reads_both_styles(self):
        with tempfile.TemporaryDirectory() as d:
            top = pathlib.Path(d)
            (top / "sources.list.d").mkdir()
            (top / "sources.list").write_text(LIST)
            (top / "sources.list.d/debian.sources").write_text(DEB822)
            (top / "sources.list.d/debian.sources.bak").write_text(DEB822)
            e = apt.machine_entries(top)
        self.assertEqual(len(e), len(apt.parse_list(LIST)) + len(apt.parse_deb822(DEB822)))

    def test_line(self):
        e = apt.Entry(("deb",), "http://m/debian", "sid", ("main",), "/k.gpg")
        self.assertEqual(apt._line(e, ("deb", "deb-src")),
                         "deb [signed-by=/k.gpg] http://m/debian sid main\n"
                         "deb-src [signed-by=/k.gpg] http://m/debian sid main\n")


if __name__ == "__main__":
    unittest.main()
