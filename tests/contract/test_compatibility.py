"""A change that would break somebody is told in one line; one that breaks nobody passes."""

import copy
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from google.protobuf.descriptor_pb2 import FileDescriptorProto, FileDescriptorSet

from live_adapters.pipeline import events_pb2
from live_adapters.pipeline.contracts import layouts
from live_adapters.pipeline.contracts.check import CONTRACTS, LAYOUTS_ACCEPTED, PROTO, ROOT, accept, broken

FIELD = "optional fixed32 tenant = 3;"


@pytest.fixture
def copied(tmp_path: Path) -> Path:
    """A checkout that holds nothing but the contracts."""
    shutil.copytree(ROOT / CONTRACTS, tmp_path / CONTRACTS, ignore=shutil.ignore_patterns("*.py", "__pycache__"))
    for file in (PROTO, Path("buf.yaml")):
        shutil.copy(ROOT / file, tmp_path / file)
    return tmp_path


def edit(root: Path, old: str, new: str) -> None:
    text = (root / PROTO).read_text(encoding="utf-8")
    assert text.count(old) == 1
    (root / PROTO).write_text(text.replace(old, new), encoding="utf-8")


def test_the_contracts_are_kept() -> None:
    assert broken() == []


@pytest.mark.parametrize(
    ("new", "told"),
    [
        ("optional fixed32 tenant = 13;", 'Previously present field "3" with name "tenant" on message "Event" was deleted'),
        ("optional fixed64 tenant = 3;", 'Field "3" with name "tenant" on message "Event" changed type from "fixed32" to "fixed64"'),
        ("optional fixed32 customer = 3;", 'changed name from "tenant" to "customer"'),
        ("", 'Previously present field "3" with name "tenant" on message "Event" was deleted'),
        ("optional fixed32 tenant = 4;", "field number `4` used more than once"),
    ],
    ids=["renumbered", "type", "name", "removed", "taken"],
)  # fmt: skip
def test_a_change_that_breaks_readers_is_told(copied: Path, new: str, told: str) -> None:
    edit(copied, FIELD, new)
    assert any(told in line and line.startswith(str(PROTO)) for line in broken(copied))


def test_it_is_one_line_for_one_change(copied: Path) -> None:
    edit(copied, FIELD, "optional fixed64 tenant = 3;")
    assert len(broken(copied)) == 1


def test_a_new_optional_field_passes_and_so_does_a_new_message(copied: Path) -> None:
    edit(copied, FIELD, FIELD + "\n  optional bytes note = 10;")
    edit(copied, "message IngestSummary {", "message Note {\n  string text = 1;\n}\n\nmessage IngestSummary {")
    assert broken(copied) == []


def test_a_number_that_was_given_up_is_never_used_again(copied: Path) -> None:
    edit(copied, FIELD, FIELD + "\n  reserved 10;")
    accept(copied)
    assert broken(copied) == []
    edit(copied, "reserved 10;", "reserved 10;\n  optional bytes note = 10;")
    (told,) = broken(copied)
    assert "reserved" in told
    edit(copied, "reserved 10;\n", "")
    (told,) = broken(copied)
    assert 'Previously present reserved range "[10]" on message "Event"' in told


def test_what_was_accepted_is_what_is_promised_from_then_on(copied: Path) -> None:
    edit(copied, FIELD, "optional fixed64 tenant = 3;")
    assert broken(copied)
    accept(copied)
    assert broken(copied) == []
    edit(copied, "optional fixed64 tenant = 3;", FIELD)
    assert broken(copied)


def test_accepting_what_has_not_changed_changes_nothing(copied: Path) -> None:
    accept(copied)
    for file in (LAYOUTS_ACCEPTED, CONTRACTS / "events.accepted.json"):
        assert (copied / file).read_text(encoding="utf-8") == (ROOT / file).read_text(encoding="utf-8")


def test_a_changed_layout_is_told_field_by_field() -> None:
    accepted = layouts.described()
    changed = copy.deepcopy(accepted)
    changed["row"]["fields"][3] |= {"type": "<f4"}
    changed["session"]["fields"].reverse()
    changed["outbox-piece"]["fields"].append({"name": "fee", "type": "<f8", "offset": 32})
    changed["edge-head"]["bytes"] = 16
    del changed["redis-state"]
    changed["brand-new"] = accepted["row"]
    assert layouts.breaks(accepted, changed) == [
        "outbox-piece.fee: must not be added to a layout in use, got <f8 at byte 32",
        "row.price: must stay <f8 at byte 16, got <f4 at byte 16",
        "edge-head: must stay of 8 bytes, got 16",
        "redis-state: a layout must stay, got none",
    ]
    assert broken(current={**accepted, "brand-new": accepted["row"]}) == [
        "layouts.json: brand-new: a new layout must be described"
    ]


def test_generated_code_is_of_this_contract(tmp_path: Path) -> None:
    buf = Path(sys.executable).with_name("buf")
    command = [buf, "build", "-o", tmp_path / "set.binpb", "--as-file-descriptor-set", "--exclude-source-info"]
    subprocess.run(command, cwd=ROOT, check=True)
    (built,) = FileDescriptorSet.FromString((tmp_path / "set.binpb").read_bytes()).file
    generated = FileDescriptorProto.FromString(events_pb2.DESCRIPTOR.serialized_pb)
    for message in built.message_type:
        for field in (*message.field, *(inner for entry in message.nested_type for inner in entry.field)):
            field.ClearField("json_name")  # protoc leaves it out of Python code where it follows from the name
    assert built.message_type == generated.message_type
    assert built.service == generated.service


def test_the_command_says_what_is_wrong_and_what_to_do() -> None:
    command = [sys.executable, "-m", "live_adapters.pipeline.contracts", "check"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (0, "contracts: kept\n")
