from pathlib import Path

import pytest

from qcnode.config import Config, StowDestination, load_config
from qcnode.errors import ConfigurationError


def write(folder: Path, text: str) -> Path:
    path = folder / "config.yaml"
    path.write_text(text)
    return path


def test_an_empty_file_is_the_defaults_with_an_absolute_storage(tmp_path: Path) -> None:
    config = load_config(write(tmp_path, ""))
    assert config.storage.directory == tmp_path / "var/qcnode"
    assert config.listen == Config().listen


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("listen: {port: 99999}", "listen.port"),
        ("listen: {ae_title: 'SEVENTEEN-LETTERS'}", "listen.ae_title"),
        ("surprise: 1", "surprise"),
        ("destinations: [{name: a, kind: carrier-pigeon}]", "carrier-pigeon"),
        ("matching: {archive: pacs}", "no destination is named 'pacs'"),
        ("tasks: {heart: {}}", "tasks.heart.weights"),
        ("listen: [", "not valid YAML"),
    ],
)
def test_a_wrong_key_is_named(tmp_path: Path, text: str, said: str) -> None:
    with pytest.raises(ConfigurationError, match=said.replace(".", r"\.")):
        load_config(write(tmp_path, text))


def test_a_margin_is_a_choice(tmp_path: Path) -> None:
    tasks = load_config(write(tmp_path, "tasks: {a: {weights: a}, b: {weights: b, predicted_dsc: {margin: 0.1}}}")).tasks
    assert (tasks["a"].predicted_dsc.margin, tasks["b"].predicted_dsc.margin) == (None, 0.1)


def test_all_wrong_keys_are_named_at_once(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError) as error:
        load_config(write(tmp_path, "listen: {port: x}\nretry: {first_seconds: 0}\n"))
    assert "2 wrong key(s)" in str(error.value)


def test_a_missing_file_says_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="--config"):
        load_config(tmp_path / "nothing.yaml")


def test_names_of_destinations_differ(tmp_path: Path) -> None:
    one = "{name: a, kind: c-store, ae_title: A, host: h, port: 1}"
    with pytest.raises(ConfigurationError, match="names must differ"):
        load_config(write(tmp_path, f"destinations: [{one}, {one}]"))


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("observers: {verified: true}", "needs organization"),
        ("observers: {organization: 'a\\\\b'}", "observers.organization"),
        ("observers: {readers: [{reader: a, person_name: A^B}, {reader: a, person_name: A^C}]}", "each reader once"),
        ("observers: {readers: [{reader: a, person_name: 'A=B'}]}", "observers.readers.0.person_name"),
        ("observers: {readers: [{reader: a, person_name: 'A^B^C^D^E^F'}]}", "observers.readers.0.person_name"),
    ],
)
def test_an_observer_that_no_document_could_name_is_refused(tmp_path: Path, text: str, said: str) -> None:
    with pytest.raises(ConfigurationError, match=said.replace(".", r"\.")):
        load_config(write(tmp_path, text))


def test_passwords_come_from_a_file_or_the_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "secret").write_text("one\n")
    text = "destinations: [{name: a, kind: stow-rs, url: 'http://127.0.0.1', password_file: secret}]"
    destination = load_config(write(tmp_path, text)).destinations[0]
    assert isinstance(destination, StowDestination)
    assert destination.password() == "one"
    by_environment = StowDestination(name="a", kind="stow-rs", url="http://pacs", password_env="QCNODE_TEST_SECRET")
    with pytest.raises(ConfigurationError, match="QCNODE_TEST_SECRET is not set"):
        by_environment.password()
    monkeypatch.setenv("QCNODE_TEST_SECRET", "two")
    assert by_environment.password() == "two"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("review: {reasons: [apex, base, apex]}", "review.reasons: Value error, reasons must differ"),
        (f"review: {{reasons: [{'x' * 65}]}}", "review.reasons.0"),
        ("review: {random_pass_share: 1.1}", "review.random_pass_share"),
        ("review: {lease_minutes: 0}", "review.lease_minutes"),
        ("review: {hold_minutes: -1}", "review.hold_minutes"),
    ],
)
def test_a_review_that_could_not_work_is_refused(tmp_path: Path, text: str, said: str) -> None:
    with pytest.raises(ConfigurationError, match=said.replace(".", r"\.")):
        load_config(write(tmp_path, text))


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("web: {host: 0.0.0.0}", "no passwords in clear text"),
        ("listen: {tls: {certificate_file: a}}", "ca_file: the authority"),
        ("listen: {callers: [{ae_title: A, certificate_name: a}]}", "certificate_name needs tls"),
        ("listen: {callers: [{ae_title: A, address: 10.0.0.1/8}]}", "no network"),
        ("destinations: [{name: a, kind: c-store, ae_title: A, host: h, port: 1, tls: {ca_file: a}}]", "enabled: true is missing"),
        (
            "destinations: [{name: a, kind: c-store, ae_title: A, host: h, port: 1, read_back: c-move, tls: {enabled: true}}]",
            "with tls use c-get",
        ),
        ("destinations: [{name: a, kind: stow-rs, url: 'http://pacs', private_key_file: a}]", "needs certificate_file"),
    ],
)
def test_doors_that_would_stand_open_are_refused(tmp_path: Path, text: str, said: str) -> None:
    with pytest.raises(ConfigurationError, match=said):
        load_config(write(tmp_path, text))


def test_pages_for_all_need_https_by_qcnode_or_a_proxy(tmp_path: Path) -> None:
    for more in ("secure_cookies: true", "tls: {certificate_file: a}", "enabled: false"):
        load_config(write(tmp_path, f"web: {{host: 0.0.0.0, {more}}}"))


def test_files_are_relative_to_the_file_wherever_they_are_named(tmp_path: Path) -> None:
    text = "listen: {tls: {certificate_file: a, ca_file: b}}\nweb: {tls: {certificate_file: c}}"
    config = load_config(write(tmp_path, text))
    assert (config.listen.tls.certificate_file, config.listen.tls.ca_file) == (tmp_path / "a", tmp_path / "b")
    assert config.web.tls.certificate_file == tmp_path / "c"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("ups: {enabled: true}", "needs callers"),
        ("ups: {callers: [{ae_title: READING1}]}", "ups.callers.0.reader"),
        ("ups: {callers: [{ae_title: A, reader: ann}, {ae_title: A, reader: bob}]}", "each AE title once"),
    ],
)
def test_a_workstation_stands_for_one_reader(tmp_path: Path, text: str, said: str) -> None:
    with pytest.raises(ConfigurationError, match=said.replace(".", r"\.")):
        load_config(write(tmp_path, text))
