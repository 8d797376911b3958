"""Import files: each is imported correctly, or refused as a whole with a sentence."""

from __future__ import annotations

import base64
import codecs
import json
import time
from typing import Any
from urllib.parse import quote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from actors.accounts.formats import bad_name, canonical
from actors.accounts.import_file import (
    LARGEST,
    MOST_PROBLEMS,
    NewAccount,
    new_account,
    read_accounts,
)

RAW = bytes.fromhex("b5f0ff1f03a1be7c2e5d9b04c8e83f0e61d2a7fb")
SECRET = base64.b64encode(RAW).decode()
HEX = RAW.hex()
BASE32 = base64.b32encode(RAW).decode()
URI = f"otpauth://totp/Steam:axe?secret={BASE32}&issuer=Steam"
PW = "hunter2-never-said"

AXE = ("axe", PW, None)
AXE_TOTP = ("axe", PW, SECRET)
LINA = ("lina.inverse", "la:gu,na;", None)

MAFILE = {
    "shared_secret": SECRET,
    "serial_number": "5391224536123456789",
    "revocation_code": "R61616",
    "uri": URI,
    "server_time": 1700000000,
    "account_name": "axe",
    "token_gid": "2f6d6c8e3f1d5c0",
    "identity_secret": base64.b64encode(b"i" * 20).decode(),
    "secret_1": base64.b64encode(b"1" * 20).decode(),
    "status": 1,
    "device_id": "android:aaaaaaaa-bbbb-cccc-dddd-eeeeeeeeeeee",
    "fully_enrolled": True,
    "Session": {"SteamID": 76561198000000001, "AccessToken": "a", "RefreshToken": "r"},
}
STEAMGUARD_CLI = {
    "account_name": "axe",
    "steam_id": 76561198000000001,
    "serial_number": "53912",
    "shared_secret": SECRET,
    "identity_secret": base64.b64encode(b"i" * 20).decode(),
    "tokens": {"access_token": "a", "refresh_token": "r"},
}
ASF = {
    "Enabled": True,
    "SteamLogin": "axe",
    "SteamPassword": PW,
    "SteamParentalCode": "0",
    "SteamUserPermissions": {"76561198000000001": 3},
}


def dumped(value: Any, indent: int | None = None) -> bytes:
    return json.dumps(value, indent=indent).encode()


IMPORTED: dict[str, tuple[bytes, list[tuple[str, str | None, str | None]]]] = {
    "lines": (f"axe:{PW}\nmars:x\n".encode(), [AXE, ("mars", "x", None)]),
    "lines with a secret": (f"axe:{PW}:{SECRET}\n".encode(), [AXE_TOTP]),
    "lines with a secret in hex": (f"axe:{PW}:{HEX.upper()}\n".encode(), [AXE_TOTP]),
    "lines with a secret in base32": (f"axe:{PW}:{BASE32}".encode(), [AXE_TOTP]),
    "lines with a key URI": (f"axe:{PW}:{URI}\r\n".encode(), [AXE_TOTP]),
    "comments and empty lines": (f'# mine\n\n  axe:{PW}\n#,"\n\n'.encode(), [AXE]),
    "lines of Windows": (f"axe:{PW}\r\nmars:x\r\n".encode(), [AXE, ("mars", "x", None)]),
    "lines of an old Mac": (f"axe:{PW}\rmars:x\r".encode(), [AXE, ("mars", "x", None)]),
    "UTF-8 with a mark": (codecs.BOM_UTF8 + f"axe:{PW}".encode(), [AXE]),
    "UTF-16 of Notepad": (codecs.BOM_UTF16_LE + f"axe:{PW}\r\n".encode("utf-16-le"), [AXE]),
    "UTF-16, big endian": (codecs.BOM_UTF16_BE + f"axe:{PW}".encode("utf-16-be"), [AXE]),
    "TAB of a spreadsheet as Unicode text": (f"axe\t{PW}\r\n".encode("utf-16"), [AXE]),
    "UTF-32": (codecs.BOM_UTF32_LE + f"axe:{PW}".encode("utf-32-le"), [AXE]),
    "a password that is not ASCII": ("axe:pässwörd".encode(), [("axe", "pässwörd", None)]),
    "an address as the name": (
        f"axe_1@example.com:{PW}".encode(),
        [("axe_1@example.com", PW, None)],
    ),
    "a header with colons": (f"login:password\naxe:{PW}\n".encode(), [AXE]),
    "semicolons": (f"axe;{PW};{SECRET}\n".encode(), [AXE_TOTP]),
    "TAB": (f"axe\t{PW}\n".encode(), [AXE]),
    "bars": (f"axe|{PW}\n".encode(), [AXE]),
    "commas and quotes": (f'"axe","{PW}"\n"lina.inverse","la:gu,na;"\n'.encode(), [AXE, LINA]),
    "doubled quotes": (b'axe,"a""b"\n', [("axe", 'a"b', None)]),
    "CSV with our header": (f"name,password,shared_secret\naxe,{PW},\n".encode(), [AXE]),
    "CSV with a space after commas": (f"Name, Password\naxe, {PW}\n".encode(), [AXE]),
    "CSV of another order": (
        f"Email;Shared Secret;PASSWORD;Login\na@b.c;{HEX};{PW};axe\n".encode(),
        [AXE_TOTP],
    ),
    "a first column that begins with #": (
        b"# mine\npassword,name\n#la,axe\n#,mars\n",
        [("axe", "#la", None), ("mars", "#", None)],
    ),
    "CSV of 1Password": (
        f"Title,Url,Username,Password,OTPAuth\nSteam,https://x.y,axe,{PW},{URI}\n".encode(),
        [AXE_TOTP],
    ),
    "CSV of Excel": (f'sep=;\r\n"name";"password"\r\naxe;{PW};;\r\n'.encode(), [AXE]),
    "JSON list": (
        dumped(
            [
                {"name": "axe", "password": PW, "shared_secret": None},
                {"login": "mars", "pass": " x"},
            ]
        ),
        [AXE, ("mars", " x", None)],
    ),
    "JSON object": (dumped({"name": "axe", "password": PW, "shared_secret": SECRET}), [AXE_TOTP]),
    "JSON lines": (
        dumped({"name": "axe", "password": PW}) + b"\n" + dumped({"name": "mars", "password": "x"}),
        [AXE, ("mars", "x", None)],
    ),
    "maFile of SDA on one line": (dumped(MAFILE), [("axe", None, SECRET)]),
    "maFile with line breaks": (codecs.BOM_UTF8 + dumped(MAFILE, 2), [("axe", None, SECRET)]),
    "maFile of steamguard-cli": (dumped(STEAMGUARD_CLI), [("axe", None, SECRET)]),
    "maFiles one after the other": (
        dumped(MAFILE) + dumped({**MAFILE, "account_name": "mars"}),
        [("axe", None, SECRET), ("mars", None, SECRET)],
    ),
    "accounts of the Steam app": (
        dumped({"accounts": {"76561198000000001": MAFILE}}),
        [("axe", None, SECRET)],
    ),
    "ASF bot file": (dumped(ASF, 2), [AXE]),
    "ASF bot file with a format": (dumped({**ASF, "PasswordFormat": 0}), [AXE]),
    "the same account twice, alike": (f"axe:{PW}\naxe:{PW}\n".encode(), [AXE]),
    "a password beside a maFile": (
        dumped([{"name": "axe", "password": PW}, MAFILE]),
        [AXE_TOTP],
    ),
}

REFUSED: dict[str, tuple[bytes, str, str]] = {
    "nothing": (b"", "the file", "no account"),
    "comments alone": (b"# none yet\n\n", "the file", "no account"),
    "a header alone": (b"name,password\n", "the file", "no account"),
    "a line without separator": (f"axe:{PW}\nmars\n".encode(), "line 2", "password is missing"),
    "no password": (b"axe:\n", "line 1", "password is missing"),
    "no name": (f":{PW}\n".encode(), "line 1", "expected lines"),
    "spaces": (f"axe {PW}\n".encode(), "line 1", "expected lines"),
    "a space after the colon": (f"axe: {PW}\n".encode(), "line 1", "space"),
    "a space at the end": (f"axe:{PW} \n".encode(), "line 1", "space"),
    "quotes after a colon": (f'axe:"{PW}"\n'.encode(), "line 1", "quotes"),
    "a name with other signs": (f"axe:{PW}\nmü;x:{PW}\n".encode(), "line 2", "expected 1 to 64"),
    "a name that is too long": (f"{'a' * 65}:{PW}".encode(), "line 1", "expected 1 to 64"),
    "a colon in the password": (f"axe:{PW}:more".encode(), "line 1", "JSON"),
    "an e-mail account behind": (f"axe:{PW}:a@b.c:{PW}".encode(), "line 1", "third and last"),
    "the secret before the password": (f"axe:{SECRET}:{PW}".encode(), "line 1", "third and last"),
    "a secret instead of the password": (f"axe:{SECRET}".encode(), "line 1", "password should be"),
    "a secret of another length": (f"axe:{PW}:c2VjcmV0".encode(), "line 1", "third and last"),
    "a secret of another length in CSV": (
        f"name,password,secret\naxe,{PW},{HEX[:-2]}".encode(),
        "line 2",
        "20 bytes",
    ),
    "a secret that is no string": (
        dumped({"name": "axe", "password": PW, "shared_secret": 5}),
        "entry 1",
        "20 bytes",
    ),
    "another separator further on": (f"axe:{PW}\nmars;{PW}\n".encode(), "line 2", "missing"),
    "a comma in a password of CSV": (
        f"name,password\naxe,{PW},x\n".encode(),
        "line 2",
        "in quotes",
    ),
    "a quote that does not end": (f'axe,"{PW}\nmars,x\n'.encode(), "line 1", "quotes"),
    "a quote that ends too early": (f'axe,"{PW}"x\n'.encode(), "line 1", "quotes"),
    "a line break in a password": (f'axe,"{PW}\n{PW}"\n'.encode(), "line 1", "not printable"),
    "a value of 200,000 characters": (
        f"name,password\naxe,{'x' * 200_000}".encode(),
        "line 2",
        "length",
    ),
    "a password of 300 characters": (f"axe:{'x' * 300}".encode(), "line 1", "256"),
    "a header without a password": (f"login;kennwort\naxe;{PW}\n".encode(), "line 1", "header"),
    "a header with two names": (
        f"name,url,username,password\nSteam,x,axe,{PW}\n".encode(),
        "line 1",
        "name, username",
    ),
    "two passwords of one account": (f"axe:{PW}\nAXE:{PW}2\n".encode(), "line 2", "line 1"),
    "Latin-1": (f"mars:x\naxe:{PW}ä".encode("latin-1"), "line 2", "UTF-8"),
    "UTF-16 without a mark": (f"axe:{PW}".encode("utf-16-le"), "line 1", "UTF-8"),
    "half a UTF-16": (
        codecs.BOM_UTF16_LE + f"axe:{PW}".encode("utf-16-le")[:-1],
        "line 1",
        "UTF-8",
    ),
    "a sign that an editor lost": (f"axe:{PW}\ufffd".encode(), "line 1", "UTF-8"),
    "a workbook": (b"PK\x03\x04\x14\x00\x06\x00", "the file", "CSV"),
    "a gzip file": (b"\x1f\x8b\x08\x00", "the file", "gzip"),
    "JSON cut off": (dumped(MAFILE)[:-40], "line 1", "JSON"),
    "JSON with something behind": (dumped(MAFILE, 2) + b"\n}", "line", "JSON"),
    "JSON of thousands of brackets": (b"[" * 100_000, "the file", "expected an object"),
    "JSON of a number without end": (b'{"name": ' + b"9" * 9999, "the file", "expected an object"),
    "JSON with a key twice": (
        f'{{"name": "axe", "password": "{PW}", "password": "x"}}'.encode(),
        "the file",
        "twice",
    ),
    "JSON of something else": (dumped([{"hello": 1}]), "entry 1", "expected an object"),
    "JSON of names and passwords": (dumped({"axe": PW}), "entry 1", "expected an object"),
    "JSON of strings": (dumped([f"axe:{PW}"]), "entry 1", "expected an object"),
    "JSON with a lone surrogate": (
        rb'{"name": "axe", "password": "\ud800"}',
        "entry 1",
        "not printable",
    ),
    "one bad entry of three": (
        dumped(
            [{"name": "axe", "password": PW}, {"name": "mars"}, {"name": "zeus", "password": "x"}]
        ),
        "entry 2",
        "password is missing",
    ),
    "maFile without a name": (
        dumped({key: its for key, its in MAFILE.items() if key != "account_name"}),
        "entry 1",
        "name is missing",
    ),
    "maFile with a broken secret": (
        dumped({**MAFILE, "shared_secret": "no"}),
        "entry 1",
        "20 bytes",
    ),
    "maFile that is encrypted": (base64.b64encode(bytes(200)), "the file", "encrypted maFile"),
    "manifest of SDA": (
        dumped({"encrypted": False, "entries": [{"filename": "1.maFile", "steamid": 1}]}),
        "entry 1",
        "maFiles beside it",
    ),
    "ASF bot file, encrypted": (
        dumped({**ASF, "PasswordFormat": 1}),
        "entry 1",
        "PasswordFormat 0",
    ),
    "ASF bot file without a login": (
        dumped({**ASF, "SteamLogin": None}),
        "entry 1",
        "name is missing",
    ),
    "a web page": (b"<!doctype html>\n<p>", "line 1", "expected lines"),
}


@given(
    st.sampled_from(
        [data for data, *_ in (*IMPORTED.values(), *REFUSED.values()) if len(data) < 2000]
    ),
    st.data(),
)
def test_damage_is_refused_or_leaves_usable_accounts(data: bytes, more: st.DataObject) -> None:
    at = more.draw(st.integers(0, len(data)))
    cut = more.draw(st.integers(0, 3))
    found = read_accounts([("", data[:at] + more.draw(st.binary(max_size=3)) + data[at + cut :])])
    assert bool(found.accounts) != bool(found.problems)
    for one in found.accounts:
        assert bad_name(one.name) is None
        assert one.password is None or one.password.isprintable()
        assert one.shared_secret is None or canonical(one.shared_secret) == one.shared_secret


def test_the_table_is_large() -> None:
    assert len(IMPORTED) + len(REFUSED) >= 40


@pytest.mark.parametrize("name", IMPORTED)
def test_a_file_is_imported_correctly(name: str) -> None:
    data, expected = IMPORTED[name]
    found = read_accounts([("", data)])
    assert found.problems == ()
    assert [(one.name, one.password, one.shared_secret) for one in found.accounts] == expected


@pytest.mark.parametrize("name", REFUSED)
def test_a_file_is_refused_as_a_whole_with_a_sentence(name: str) -> None:
    data, where, phrase = REFUSED[name]
    found = read_accounts([("", data)])
    assert found.accounts == ()
    assert found.problems[0].where.startswith(where)
    assert phrase in found.problems[0].problem
    assert not any(value in str(found.problems) for value in (PW, SECRET, HEX, BASE32))


@pytest.mark.parametrize(
    "form", [SECRET, HEX, HEX.upper(), BASE32, URI, f"steam://{BASE32}", f" {SECRET}\n"]
)
def test_a_shared_secret_is_the_same_in_every_form(form: str) -> None:
    assert canonical(form) == SECRET
    added = new_account("axe", PW, form)
    assert isinstance(added, NewAccount)
    assert added.shared_secret == SECRET


@pytest.mark.parametrize(
    "other",
    [
        *("", "c2VjcmV0", SECRET[:-1], SECRET + "=", HEX[1:], HEX + "00", BASE32.lower(), "!" * 28),
        *("otpauth://totp/x", f"otpauth://hotp/x?secret={BASE32}", f"https://x/?secret={BASE32}"),
        *("otpauth://[", f"otpauth://totp/x?secret={quote('ä' * 32)}", f"{URI}{'x' * 2000}"),
    ],
)
def test_another_text_is_no_shared_secret(other: str) -> None:
    assert canonical(other) is None


def test_passwords_of_one_file_and_maFiles_are_merged() -> None:  # noqa: N802 - their name
    files = [("logins.txt", f"AXE:{PW}\nmars:x\n".encode()), ("axe.maFile", dumped(MAFILE))]
    for order in (files, files[::-1]):
        found = read_accounts(order)
        assert {(one.name.lower(), one.password, one.shared_secret) for one in found.accounts} == {
            AXE_TOTP,
            ("mars", "x", None),
        }


def test_a_problem_names_its_file_of_several() -> None:
    found = read_accounts([("good.txt", b"axe:pw\n"), ("bad.txt", b"mars:pw\nzeus\naxe:other\n")])
    assert found.accounts == ()
    assert [one.where for one in found.problems] == ["bad.txt, line 2", "bad.txt, line 3"]
    assert "good.txt, line 1" in found.problems[1].problem


def test_a_large_file_is_refused_before_it_is_read_and_a_broken_one_soon() -> None:
    assert "16 MiB" in read_accounts([("", bytes(LARGEST + 1))]).problems[0].problem
    assert len(read_accounts([("", b"axe:pw\n" + b"x\n" * 100_000)]).problems) == MOST_PROBLEMS


@pytest.mark.parametrize("line", ["bob:pw:", "al:x::", "cy:pw: "])
def test_a_colon_at_the_end_may_belong_to_the_password(line: str) -> None:
    found = read_accounts([("", f"{line}\nok:fine\n".encode())])
    assert found.accounts == ()
    assert [one.where for one in found.problems] == ["line 1"]


def test_a_long_line_of_key_uris_is_read_in_linear_time() -> None:
    """A quadratic search took minutes for a file of this size, and stopped all threads meanwhile."""
    begun = time.thread_time()
    read_accounts([("", b":steam://" * 400_000 + b" y\n")])
    assert time.thread_time() - begun < 5
