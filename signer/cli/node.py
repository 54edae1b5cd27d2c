"""`sealmark node`: further nodes of a deployment."""

from __future__ import annotations

from pathlib import Path

import click

from signer.cli.extra import server_parts
from signer.cli.operator import state_option
from signer.cli.options import current_settings, json_option
from signer.cli.output import note, print_json, print_record


@click.group("node")
def node() -> None:
    """Further nodes of a deployment on PostgreSQL.

    \b
    Examples:
      sealmark node join --state /var/lib/sealmark --from /media/carried
    """


@node.command("join")
@state_option
@click.option(
    "--from",
    "source",
    type=click.Path(path_type=Path, file_okay=False, exists=True),
    required=True,
    help="The folder of a node that is there; or a copy of its sealmark.toml and of the files that it names.",
)
@json_option
def join(state: Path, source: Path) -> None:
    """Make the folder of another node.

    It uses the same database and the same HSM, and any key of them. Before it is done, it is seen to that the HSM and
    the database belong together. Nothing is changed in either.

    \b
    Examples:
      sealmark node join --state /var/lib/sealmark --from /media/carried
      sealmark node join --state /var/lib/sealmark-2 --from /var/lib/sealmark
    """
    with server_parts():
        from contextlib import closing

        from keystore import open_keystore
        from keystore.nodes import new_node
        from signer.config import load_server_configuration
    with new_node(state, source) as made:
        load_server_configuration(made.path)
        with closing(open_keystore(made.path)) as keystore:
            keystore.ready()
            account, region = keystore.log.origin.split("/")[1:3]
    if current_settings().as_json:
        print_json({"state": str(made.path), "account": account, "region": region, "log": keystore.log.origin})
        return
    print_record({"state": made.path, "account": account, "region": region, "log": keystore.log.origin})
    note(f"Next: sealmark serve --state {made.path}")


@node.command("upgrade")
@state_option
@json_option
def upgrade(state: Path) -> None:
    """Bring the database to this version's revision.

    The others go on meanwhile: of an upgrade by one version the older one works with what comes of it. Upgrade the
    database first, then one node after the other.

    \b
    Examples:
      sealmark node upgrade --state /var/lib/sealmark
    """
    with server_parts():
        from contextlib import closing

        from keystore.configuration import load_database_configuration
        from keystore.db import connect, open_database
        from keystore.db import upgrade as upgrade_database
        from keystore.db.migration import NEWEST
    told = load_database_configuration(state)
    with closing(connect(told.url, told.password_file)) as database:
        upgrade_database(database)
    open_database(told.url, told.password_file).close()
    if current_settings().as_json:
        print_json({"revision": NEWEST})
        return
    print_record({"revision": NEWEST})
