"""Backup, restore and drill of a real MySQL, whose packages are those of Debian's unstable suite."""

from __future__ import annotations

import json
import os

import pytest

from tests.conftest import Control
from tests.integration.app import mysql
from tests.integration.app.mysql import PASSWORD, ask
from tests.integration.app.project import Project, squeezed
from tests.integration.app.twin import rehearsing
from tests.rig import Host, Rig

pytestmark = pytest.mark.skipif(
    not os.environ.get("FREEHOLD_EVERY_BOOT"), reason="`make test-every-boot` runs these"
)

SHOP = "the `shop"
WHOLE = "SELECT COUNT(*), MAX(note), SUM(twice) FROM orders; SELECT COUNT(*) FROM late; CALL many()"
MORE = "SELECT about->>'$.name' FROM buyers; SELECT @@character_set_database; SHOW TABLES"


def test_mysql_comes_back_as_it_was(rig: Rig, hosts: tuple[Host, Host], control: Control) -> None:
    host = hosts[0]
    project = Project(rig, hosts, control.directory)
    mysql.describe(project)
    mysql.load(host)
    # Known by the image's name.
    project.freehold("accessory", "boot", "my")
    project.until(lambda: ask(host, "SELECT 1", check=False) == "1", "the database")
    ask(host, mysql.FILL)
    before = ask(host, WHOLE, SHOP), ask(host, MORE, SHOP)
    assert before[0].startswith("500 order 99 € 250500 100 500"), before
    assert before[1] == "Zoë latin2 buyers late orders seen"
    made = json.loads(project.freehold("backup", "create", "my", "--json").stdout)
    assert made["kind"] == "mysql"

    lost = "DELETE FROM orders WHERE id > 10; DROP VIEW late; DROP TRIGGER noted; CREATE TABLE since (a int)"
    ask(host, f"{lost}; ALTER DATABASE CHARACTER SET utf8mb4; DROP DATABASE side", SHOP)
    said = squeezed(project.freehold("backup", "restore", "my", made["name"], "-y"))
    assert f"restored: {SHOP} (3 tables)" in said and "restored: side (1 tables)" in said, said
    assert (ask(host, WHOLE, SHOP), ask(host, MORE, SHOP)) == before
    assert ask(host, "DELETE FROM orders WHERE id = 7; SELECT number FROM seen", SHOP) == "7"
    assert "later" in ask(host, "SHOW EVENTS", SHOP)
    assert "restored" not in ask(host, "SHOW DATABASES")
    assert PASSWORD not in host.exec("ps -eo args").stdout

    with rehearsing(project, "web-1", "web-2") as twin:
        mysql.load(twin)
        project.freehold("backup", "create", "my")
        done = project.freehold("backup", "drill", "my", "--lab", "--json", timeout=600)
        (drilled,) = json.loads(done.stdout)
        found = {"side: 1 tables, 1 rows", f"{SHOP}: 3 tables, 501 rows"}
        assert (set(drilled["found"]), drilled["error"]) == (found, "")
        assert ask(twin, "SELECT COUNT(*) FROM orders", SHOP) == "499"
