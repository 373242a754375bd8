"""Nobody listens where strangers are by accident, and no secret comes by a flag or goes into an error."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from rolltrace_settings.access import admin_tokens, is_loopback
from rolltrace_settings.document import document
from rolltrace_settings.errors import SettingsError
from rolltrace_settings.load import load, resolve, to_environment
from rolltrace_settings.settings import Service, Settings

ADMIN = "an-admin-token-of-the-tests"
SECURITY = Path(__file__).parents[2] / "docs" / "security.md"


def fail(*argv: str, service: Service = "up", **environ: str) -> str:
    with pytest.raises(SettingsError) as raised:
        resolve(argv, environ, service=service)
    message = str(raised.value)
    assert "\n" not in message
    assert ADMIN not in message
    return message


@pytest.mark.parametrize("address", ["0.0.0.0", "::", "10.0.0.1", "gateway.example", "localhost.example"])
@pytest.mark.parametrize(
    ("service", "name"),
    [("proxy", "--host"), ("control", "--control-host"), ("up", "--host"), ("up", "--control-host")],
)
def test_an_address_that_strangers_reach_needs_auth(service: Service, name: str, address: str) -> None:
    assert fail(name, address, service=service) == (
        f"{name}: whoever reaches {address} could use the gateway: give --auth token and --admin-token-file "
        "FILE, or listen at 127.0.0.1, or accept it with --insecure"
    )
    assert resolve([name, address, "--insecure"], {}, service=service).insecure
    assert not resolve(
        [name, address, "--auth", "token"], {"ROLLTRACE_ADMIN_TOKEN": ADMIN}, service=service
    ).insecure


def test_the_place_of_the_address_is_named(tmp_path: Path) -> None:
    path = tmp_path / "config.yaml"
    path.write_text("\nhost: 0.0.0.0\n")
    assert fail("--config", str(path)).startswith(f"{path}:2: host: whoever reaches 0.0.0.0")
    assert fail(ROLLTRACE_HOST="0.0.0.0").startswith("ROLLTRACE_HOST: ")


def test_a_service_minds_its_own_address(tmp_path: Path) -> None:
    environ = {"ROLLTRACE_CONTROL_HOST": "0.0.0.0"}
    assert resolve([], environ, service="proxy").control_host == "0.0.0.0"
    assert fail(service="control", **environ)


@pytest.mark.parametrize(
    ("address", "loopback"),
    [
        ("127.0.0.1", True),
        ("127.8.9.1", True),
        ("::1", True),
        ("localhost", True),
        ("::", False),
        ("127.1", False),
    ],
)
def test_loopback(address: str, loopback: bool) -> None:
    assert is_loopback(address) == loopback


def tokens(text: str, tmp_path: Path) -> tuple[bytes, ...]:
    path = tmp_path / "token"
    path.write_text(text)
    return admin_tokens(Settings(auth="token", admin_token_file=str(path), admin_token="of-the-environment"))


def test_each_line_of_the_file_is_a_token(tmp_path: Path) -> None:
    assert tokens(f"{ADMIN}\n\n  another-token-of-these  \n", tmp_path) == (
        ADMIN.encode(),
        b"another-token-of-these",
    )


def test_without_auth_there_are_no_tokens() -> None:
    assert admin_tokens(Settings(admin_token=ADMIN, admin_token_file="/nowhere")) == ()


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("", "holds no token; make one"),
        ("\n \n", "holds no token; make one"),
        ("short", "a token has at least 16 characters"),
        (f"{ADMIN}\nshort", "a token has at least 16 characters"),
        ("with spaces in its middle", "a token is of visible ASCII characters, without spaces"),
        ("größer-als-sechzehn", "a token is of visible ASCII characters"),
        ("rt-" + "x" * 20, "a token does not begin with rt- or session:"),
        ("session:" + "x" * 20, "a token does not begin with rt- or session:"),
    ],
)
def test_files_that_hold_no_token(tmp_path: Path, text: str, why: str) -> None:
    with pytest.raises(SettingsError, match=why) as raised:
        tokens(text, tmp_path)
    assert not text.strip() or text.strip().split("\n")[-1] not in str(raised.value)


def test_auth_without_a_token_says_how_to_make_one() -> None:
    assert "give --admin-token-file FILE or ROLLTRACE_ADMIN_TOKEN; to make one: python3 -c" in fail(
        "--auth", "token"
    )
    assert fail("--auth", "token", "--admin-token-file", "/nowhere") == (
        "/nowhere: cannot be read: No such file or directory"
    )


def test_a_secret_has_no_flag_and_is_not_shown(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    remedy = "a secret is not for a command line; use --admin-token-file or ROLLTRACE_ADMIN_TOKEN"
    assert fail(f"--admin-token={ADMIN}") == f"--admin-token: {remedy}"
    path = tmp_path / "config.yaml"
    path.write_text(f"admin_token: {ADMIN}\nauth: token\n")
    settings = resolve(["--config", str(path)], {}, service="up")
    assert settings.admin_token == ADMIN
    assert ADMIN not in repr(settings)
    assert resolve([], to_environment(settings), service="proxy") == settings
    with pytest.raises(SystemExit):
        load(["--help"], service="up")
    assert "--admin-token " not in capsys.readouterr().out
    assert "| | `ROLLTRACE_ADMIN_TOKEN` | `admin_token` |" in re.sub(" +", " ", document())
    for wrong in (
        f"admin_token: [{ADMIN}]",
        f"admin_token: {{a: {ADMIN}}}",
        "admin_token: 12345678901234567",
    ):
        path.write_text(wrong)
        assert "12345678901234567" not in fail("--config", str(path))


@pytest.mark.parametrize("text", ["true", "yes", "ON", "1"])
def test_a_switch(tmp_path: Path, text: str) -> None:
    path = tmp_path / "config.yaml"
    path.write_text("insecure: true\n")
    assert resolve([f"--insecure={text}"], {}, service="up").insecure
    assert resolve(["--insecure", "--port", "1"], {}, service="up").port == 1
    assert resolve(["--config", str(path)], {}, service="up").insecure
    assert not resolve(["--config", str(path), "--insecure=false"], {}, service="up").insecure
    assert fail("--insecure=maybe") == "--insecure: 'maybe' is neither true nor false; write true or false"


@pytest.mark.parametrize(
    ("argv", "why"),
    [
        (["--tls-cert-file", "c"], "--tls-cert-file: needs tls_key_file beside it"),
        (["--tls-key-file", "k"], "--tls-key-file: needs tls_cert_file beside it"),
        (
            ["--tls-client-ca-file", "c"],
            "--tls-client-ca-file: needs tls_cert_file and tls_key_file beside it",
        ),
        (["--redact", "module"], "--redact: 'module' is not module:function"),
    ],
)
def test_what_belongs_together(argv: list[str], why: str) -> None:
    assert fail(*argv) == why


def test_the_page_on_security_shows_a_file_that_is_understood(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    page = SECURITY.read_text(encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    Path("token").write_text(ADMIN)
    Path("secure.yaml").write_text(page.split("```yaml\n")[1].split("```")[0])
    settings = resolve(["--config", "secure.yaml"], {}, service="up")
    assert (settings.auth, settings.host, settings.workers[0].ca_file) == (
        "token",
        "0.0.0.0",
        "workers-ca.pem",
    )


def test_the_tests_that_the_page_names_are_there() -> None:
    named = re.findall(r"`(tests/[\w/]+\.py)`", SECURITY.read_text(encoding="utf-8"))
    assert named
    assert all((SECURITY.parents[1] / name).exists() for name in named)
