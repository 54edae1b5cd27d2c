"""What the views are given: every part, put together once by `signer.app`."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from signer.tracing import stop_tracing

if TYPE_CHECKING:
    from keystore.keystore import Keystore
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
    from signer.administration.trusted_issuers import TrustedIssuerAdministration
    from signer.audit import AuditTrail
    from signer.audit_history import AuditHistory
    from signer.audit_reports import AuditReports
    from signer.auditing import AuditReading
    from signer.authn.exchange import Exchange
    from signer.authn.throttle import Throttle
    from signer.callers import KnownCallers
    from signer.certification import Certification
    from signer.config import ServerConfiguration
    from signer.explaining import AccessExplanations
    from signer.export.exporter import Exporter
    from signer.metrics_listener import MetricsService
    from signer.pipeline import Pipeline
    from signer.published import Published
    from signer.published_logs import PublishedLogs
    from signer.readiness import Readiness
    from signer.regions.receiving import ReplicaReception
    from signer.regions.replication import RegionAdministration
    from signer.revocation import RevocationLists
    from signer.saml_metadata import SamlMetadata
    from signer.upkeep import Upkeep
    from signer.usage import Usage


@dataclass(slots=True)
class Services:
    """The parts of one worker."""

    configuration: ServerConfiguration
    keystore: Keystore
    audit: AuditTrail
    pipeline: Pipeline
    keys: KeyAdministration
    labels: LabelAdministration
    policies: PolicyAdministration
    certificates: CertificateAdministration
    identities: IdentityAdministration
    issuers: IssuerAdministration
    material: MaterialAdministration
    certification: Certification
    revocation_lists: RevocationLists
    published: Published
    published_logs: PublishedLogs
    saml_metadata: SamlMetadata
    upkeep: Upkeep
    public_credentials: PublicCredentialAdministration
    access: AccessExplanations
    grants: GrantAdministration
    identity_policies: IdentityPolicyAdministration
    credentials: CredentialAdministration
    access_keys: AccessKeyAdministration
    throttle: Throttle
    callers: KnownCallers
    trusted_issuers: TrustedIssuerAdministration
    exchange: Exchange
    approvals: ApprovalAdministration
    auditing: AuditReading
    audit_reports: AuditReports
    usage: Usage
    audit_history: AuditHistory
    exporters: tuple[Exporter, ...]
    regions: RegionAdministration
    replicas: ReplicaReception
    readiness: Readiness
    metrics: MetricsService | None = field(default=None, init=False)  # where the configuration asks for it

    def close(self) -> None:
        """Ends this worker's use of everything, the audit trail first."""
        if not self.audit.stopped:
            if self.metrics is not None:
                self.metrics.stop()
            self.upkeep.stop()
            stop_tracing()
            self.audit.stop()
            for exporter in self.exporters:
                exporter.stop()
            self.keystore.close()
