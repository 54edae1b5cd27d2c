"""The composition root: the only place that knows all parts and puts them together, once a worker, after the fork."""

from __future__ import annotations

import atexit
import os
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING

import structlog
from flask import Flask

from keystore import open_keystore
from signer.access import Action
from signer.administration.access_keys import AccessKeyAdministration
from signer.administration.approvals import ApprovalAdministration
from signer.administration.certificates import CertificateAdministration
from signer.administration.credentials import CredentialAdministration
from signer.administration.grants import GrantAdministration
from signer.administration.identities import IdentityAdministration
from signer.administration.identity_policies import IdentityPolicyAdministration
from signer.administration.importing import MaterialAdministration
from signer.administration.issuers import IssuerAdministration
from signer.administration.keys import KeyAdministration
from signer.administration.labels import LabelAdministration
from signer.administration.policies import PolicyAdministration
from signer.administration.public_credentials import PublicCredentialAdministration
from signer.administration.separation import Separation
from signer.administration.trusted_issuers import TrustedIssuerAdministration
from signer.approvals import Approvals
from signer.audit import AuditTrail
from signer.audit.cosigned_heads import Witnessing
from signer.audit_history import AuditHistory
from signer.audit_reports import AuditReports
from signer.auditing import AuditReading
from signer.authn.authenticator import Authenticator
from signer.authn.exchange import Exchange
from signer.authn.key_sets import KeySets
from signer.authn.throttle import Throttle
from signer.callers import KnownCallers
from signer.certification import Certification
from signer.config import ServerConfiguration, load_server_configuration
from signer.errors import ConfigurationError
from signer.explaining import AccessExplanations
from signer.export.exporter import Exporter
from signer.idempotency import Idempotency
from signer.logs import configure_logs
from signer.metrics_listener import MetricsService
from signer.officer_watch import report_officer
from signer.pipeline import Pipeline
from signer.published import Published
from signer.published_logs import PublishedLogs
from signer.quotas import Quotas, report_strange_quotas
from signer.readiness import Readiness
from signer.regions.receiving import ReplicaReception
from signer.regions.replication import RegionAdministration
from signer.revocation import RevocationLists
from signer.root_watch import report_enabled_root
from signer.saml_metadata import SamlMetadata
from signer.services import Services
from signer.software_watch import forbid_core_dumps, report_software_keys
from signer.tracing import start_tracing
from signer.upkeep import Upkeep
from signer.usage import Usage
from signer.web.routes import register

if TYPE_CHECKING:
    from socket import socket

    from keystore.keystore import Keystore

_log = structlog.get_logger("sealmark.app")


def create_app(state: Path | None = None, metrics: socket | None = None) -> Flask:
    """The WSGI application over a state directory (or the one that SEALMARK_STATE names).

    Opens the HSM and the database: call it in the process that serves, after any fork. `metrics` is where the service
    listens for Prometheus, bound before the fork. Raises `ConfigurationError`.
    """
    state = state or _state_from_environment()
    configuration = load_server_configuration(state)
    configure_logs(configuration.log_level)
    keystore = open_keystore(state)
    try:
        services = assemble(keystore, state, configuration)
    except BaseException:
        keystore.close()  # it may be tried again in this process
        raise
    atexit.register(services.close)
    report_enabled_root(services.keystore, services.keystore.clock())
    report_officer(services.keystore.token_info)
    if report_software_keys(services.keystore):
        forbid_core_dumps()
    watch(services, state, metrics)
    return application(services)


def watch(services: Services, state: Path, metrics: socket | None) -> None:
    """Metrics and traces, as the configuration asks for them."""
    if metrics is not None:
        services.metrics = MetricsService(services, state, metrics)
    elif services.configuration.metrics.bind is not None:
        _log.warning("metrics_not_served", advice="`sealmark serve` serves them; gunicorn by itself does not")
    start_tracing(services.configuration.tracing)


def application(services: Services) -> Flask:
    """The Flask application over parts that are already put together."""
    app = Flask("sealmark", static_folder=None)
    app.extensions["sealmark"] = services
    register(app, services)
    return app


def assemble(
    keystore: Keystore, state: Path, configuration: ServerConfiguration, *, throttle: Throttle | None = None
) -> Services:
    """Puts the parts together over an open keystore. `throttle`: another than the one that every service has, for
    whoever is the whole world of callers at once."""
    throttle = throttle or Throttle()
    witnessing = Witnessing(configuration.log, state / "locks", keystore.clock) if configuration.log.witnesses else None
    audit = AuditTrail(keystore.database, state / "locks", keystore.log, witnessing)
    published = Published(keystore)
    certification = Certification(keystore, audit, configuration.certificates)
    revocation_lists = RevocationLists(keystore, certification, configuration.certificates)
    certificates = CertificateAdministration(keystore, certification, revocation_lists)
    separation = Separation(keystore)
    policies = PolicyAdministration(keystore, separation)
    grants = GrantAdministration(keystore, separation)
    approvals = ApprovalAdministration(keystore)
    regions = RegionAdministration(keystore, audit, configuration.regions)
    keystore.regions.on_new_version = regions.spread
    callers = KnownCallers()
    authenticator = Authenticator(keystore, throttle, callers)
    held = Approvals(
        keystore,
        {
            Action.PUT_APPROVAL_RULE: approvals.check_rule,
            Action.PUT_KEY_POLICY: policies.check_replacement,
            Action.CREATE_GRANT: grants.check,
        },
    )
    report_strange_quotas(configuration.quotas, keystore)
    quotas = Quotas(keystore.database, keystore.clock, configuration.quotas)
    return Services(
        configuration=configuration,
        keystore=keystore,
        audit=audit,
        pipeline=Pipeline(keystore, authenticator, audit, Idempotency(keystore), published, held, quotas),
        keys=KeyAdministration(keystore, policies, certification, certificates),
        labels=LabelAdministration(keystore),
        policies=policies,
        certificates=certificates,
        identities=IdentityAdministration(keystore),
        issuers=IssuerAdministration(keystore),
        material=MaterialAdministration(keystore),
        certification=certification,
        revocation_lists=revocation_lists,
        published=published,
        published_logs=PublishedLogs(
            keystore.database,
            [str(witness.key) for witness in configuration.log.witnesses],
            configuration.log.cosignatures,
            audit.log.shown_heads,
        ),
        saml_metadata=SamlMetadata(keystore, audit, published),
        upkeep=Upkeep(keystore, audit, revocation_lists, regions),
        public_credentials=PublicCredentialAdministration(keystore),
        access=AccessExplanations(keystore),
        grants=grants,
        identity_policies=IdentityPolicyAdministration(keystore, separation),
        credentials=CredentialAdministration(keystore, timedelta(days=configuration.longest_token_days)),
        access_keys=AccessKeyAdministration(
            keystore, configuration.access_keys_per_principal, timedelta(days=configuration.longest_token_days)
        ),
        throttle=throttle,
        callers=callers,
        trusted_issuers=TrustedIssuerAdministration(keystore),
        exchange=Exchange(keystore, audit, KeySets(keystore.clock)),
        approvals=approvals,
        auditing=AuditReading(keystore, audit.log.shown_heads),
        audit_reports=AuditReports(keystore),
        usage=Usage(keystore),
        audit_history=AuditHistory(keystore),
        exporters=tuple(
            Exporter(keystore.database, export, state, keystore.account, keystore.region)
            for export in configuration.exports
        ),
        regions=regions,
        replicas=ReplicaReception(keystore, configuration.regions, policies, certification),
        readiness=Readiness(keystore, audit, configuration, state),
    )


def _state_from_environment() -> Path:
    named = os.environ.get("SEALMARK_STATE")
    if not named:
        msg = "set SEALMARK_STATE to the state directory that `sealmark init` made"
        raise ConfigurationError(msg)
    return Path(named)
