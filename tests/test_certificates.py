"""Certificates: what can be used, what is made, and files that change while they are served."""

from __future__ import annotations

import os
from datetime import UTC, datetime, timedelta

import pytest
import trustme
from cryptography import x509
from twisted.internet.task import Clock

from evok_twisted.certificates import LOOK, Certificate, Pair, make
from evok_twisted.errors import ConfigError


class Files:
    def __init__(self, directory):
        self.certificate, self.key = directory / "cert.pem", directory / "key.pem"
        self.authority = trustme.CA()

    def issue(self, name="plc.example", **how):
        issued = self.authority.issue_cert(name, **how)
        # in place of the old ones, as certbot does
        for file, blob in ((self.key, issued.private_key_pem), (self.certificate, issued.cert_chain_pems[0])):
            fresh = file.with_suffix(".new")
            blob.write_to_path(fresh)
            os.replace(fresh, file)
        return self

    def served(self, clock):
        return Certificate(self.certificate, self.key, clock)


@pytest.fixture
def files(tmp_path):
    return Files(tmp_path)


def shown(certificate):
    """The names in the certificate of a new connection."""
    certificate.serverConnectionForTLS(None)
    return list(certificate.names)


def test_a_pair_has_its_names_and_its_end(files):
    pair = Pair(files.issue().certificate, files.key)
    assert pair.names == ["plc.example"]
    assert pair.ends > datetime.now(UTC)


@pytest.mark.parametrize(
    ("which", "content", "why"),
    [
        ("certificate", None, "cannot be read"),
        ("key", None, "cannot be read"),
        ("certificate", "nonsense", "no certificate in PEM format"),
        ("key", "nonsense", "no key in PEM format"),
        ("key", "other", "is not that of the certificate"),
    ],
)
def test_what_cannot_be_used_is_said(files, tmp_path, which, content, why):
    files.issue()
    file = getattr(files, which)
    if content is None:
        file.unlink()
    elif content == "other":
        file.write_bytes(files.authority.issue_cert("other.example").private_key_pem.bytes())
    else:
        file.write_text(content)
    with pytest.raises(ConfigError, match=why):
        Pair(files.certificate, files.key)


def test_files_that_change_are_taken_over_by_the_next_connection(files, log):
    clock = Clock()
    certificate = files.issue("old.example").served(clock)
    assert shown(certificate) == ["old.example"]
    files.issue("new.example")
    clock.advance(LOOK)
    assert shown(certificate) == ["new.example"]
    assert "a new certificate is served" in log.texts("info")[-1]


def test_files_that_are_of_no_use_leave_what_was_there(files, log):
    clock = Clock()
    certificate = files.issue("old.example").served(clock)
    files.key.write_text("torn")
    for _ in range(3):
        clock.advance(LOOK)
        assert shown(certificate) == ["old.example"]
    (told,) = log.texts("error")
    assert list(certificate.warnings()) == [told]
    assert "no key in PEM format" in told and "from before" in told
    files.issue("new.example")
    clock.advance(LOOK)
    assert shown(certificate) == ["new.example"]
    assert list(certificate.warnings()) == []
    assert any("can be used again" in line for line in log.texts("info"))


@pytest.mark.parametrize(("days", "warned"), [(13, True), (15, False)])
def test_the_end_of_a_certificate_is_warned_of_14_days_before(files, log, days, warned):
    clock = Clock()
    certificate = files.issue(not_after=datetime.now(UTC) + timedelta(days=days)).served(clock)
    for _ in range(3):
        clock.advance(LOOK)
        shown(certificate)
    assert [("ends on" in line) for line in log.texts("warn")] == [True] * warned
    assert list(certificate.warnings()) == log.texts("warn")


def test_a_certificate_that_is_made_can_be_used_and_its_key_is_private(tmp_path):
    certificate, key = tmp_path / "tls" / "cert.pem", tmp_path / "tls" / "key.pem"
    make(certificate, key, ["plc", "192.168.1.5", "::1"])
    assert Pair(certificate, key).names == ["plc"]
    assert key.stat().st_mode & 0o777 == 0o600
    (made,) = x509.load_pem_x509_certificates(certificate.read_bytes())
    addresses = made.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert [str(one) for one in addresses.get_values_for_type(x509.IPAddress)] == ["192.168.1.5", "::1"]
