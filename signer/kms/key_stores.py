"""Custom key stores: not here. Keys are in the deployment's own HSM as they are, so there is nothing to connect.

Each operation asks who calls and reads its request, so that a client learns first what is wrong with either; then it is
an `UnsupportedOperationException`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Final, Literal

from msgspec import Meta

from signer.kms.errors import unsupported
from signer.kms.operation import KmsOperation
from signer.kms.shapes import SECRET, CustomKeyStoreId, Limit, Marker, Request, Shape

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import NoReturn

    from signer.call import Call
    from signer.services import Services

_Name = Annotated[str, Meta(min_length=1, max_length=256)]
_ClusterId = Annotated[str, Meta(min_length=19, max_length=24, pattern="^cluster-[2-7a-zA-Z]{11,16}$(?!\\n)")]
_Password = Annotated[str, Meta(min_length=7, max_length=32, extra=SECRET)]
_Endpoint = Annotated[str, Meta(min_length=10, max_length=128, pattern="^https://[a-zA-Z0-9.-]+$(?!\\n)")]
_Path = Annotated[
    str,
    Meta(
        min_length=10,
        max_length=128,
        pattern="^(/[a-zA-Z0-9\\/_-]+/kms/xks/v\\d{1,2})$(?!\\n)|^(/kms/xks/v\\d{1,2})$(?!\\n)",
    ),
]
_EndpointService = Annotated[
    str,
    Meta(
        min_length=20,
        max_length=64,
        pattern="^(com|eu)\\.amazonaws\\.vpce\\.([a-z]+-){2,3}\\d+\\.vpce-svc-[0-9a-z]+$(?!\\n)",
    ),
]
_Connectivity = Literal["PUBLIC_ENDPOINT", "VPC_ENDPOINT_SERVICE"]
_Account = Annotated[str, Meta(min_length=12, max_length=12, pattern="^[0-9]{12}$(?!\\n)")]


class ProxyCredential(Shape):
    """How an external key store's proxy would be spoken to."""

    access_key_id: Annotated[str, Meta(min_length=20, max_length=30, pattern="^[A-Z2-7]+$(?!\\n)", extra=SECRET)]
    raw_secret_access_key: Annotated[
        str, Meta(min_length=43, max_length=64, pattern="^[a-zA-Z0-9\\/+=]+$(?!\\n)", extra=SECRET)
    ]


class NamedRequest(Request):
    """`ConnectCustomKeyStore`, `DeleteCustomKeyStore`, `DisconnectCustomKeyStore`"""

    custom_key_store_id: CustomKeyStoreId


class CreateRequest(Request):
    """`CreateCustomKeyStore`"""

    custom_key_store_name: _Name
    cloud_hsm_cluster_id: _ClusterId | None = None
    trust_anchor_certificate: Annotated[str, Meta(min_length=1, max_length=5000)] | None = None
    key_store_password: _Password | None = None
    custom_key_store_type: Literal["AWS_CLOUDHSM", "EXTERNAL_KEY_STORE"] | None = None
    xks_proxy_uri_endpoint: _Endpoint | None = None
    xks_proxy_uri_path: _Path | None = None
    xks_proxy_vpc_endpoint_service_name: _EndpointService | None = None
    xks_proxy_vpc_endpoint_service_owner: _Account | None = None
    xks_proxy_authentication_credential: ProxyCredential | None = None
    xks_proxy_connectivity: _Connectivity | None = None


class UpdateRequest(Request):
    """`UpdateCustomKeyStore`"""

    custom_key_store_id: CustomKeyStoreId
    new_custom_key_store_name: _Name | None = None
    key_store_password: _Password | None = None
    cloud_hsm_cluster_id: _ClusterId | None = None
    xks_proxy_uri_endpoint: _Endpoint | None = None
    xks_proxy_uri_path: _Path | None = None
    xks_proxy_vpc_endpoint_service_name: _EndpointService | None = None
    xks_proxy_vpc_endpoint_service_owner: _Account | None = None
    xks_proxy_authentication_credential: ProxyCredential | None = None
    xks_proxy_connectivity: _Connectivity | None = None


class DescribeRequest(Request):
    """`DescribeCustomKeyStores`"""

    custom_key_store_id: CustomKeyStoreId | None = None
    custom_key_store_name: _Name | None = None
    limit: Limit | None = None
    marker: Marker | None = None


def _refused(name: str, request: type[Request]) -> Callable[[Services, Call], NoReturn]:
    def view(services: Services, call: Call) -> NoReturn:
        msg = f"{name} is not supported: this service has no custom key stores, its keys are in its own HSM"
        services.pipeline.refuse(call, name, request, unsupported(msg))

    return view


OPERATIONS: Final = tuple(
    KmsOperation(name, request, _refused(name, request), ())
    for name, request in (
        ("ConnectCustomKeyStore", NamedRequest),
        ("CreateCustomKeyStore", CreateRequest),
        ("DeleteCustomKeyStore", NamedRequest),
        ("DescribeCustomKeyStores", DescribeRequest),
        ("DisconnectCustomKeyStore", NamedRequest),
        ("UpdateCustomKeyStore", UpdateRequest),
    )
)
