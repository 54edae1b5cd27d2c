"""AWS's published examples of Signature Version 4, as data: what is sent, and which signature is right.

- SUITE: "Signature Version 4 Test Suite" (AWS General Reference, signature-v4-test-suite; now in awslabs/aws-c-auth,
  tests/aws-signing-test-suite/v4). Access key AKIDEXAMPLE, us-east-1, service `service`, 2015-08-30T12:36:00Z.
- IAM: "Examples of the complete Version 4 signing process" (AWS General Reference, sigv4-signed-request-examples) and
  "Create a signed AWS API request" (IAM User Guide): ListUsers, with every step on the way.
- S3_HEADER: "Signature Calculations for the Authorization Header" (S3 API Reference, sig-v4-header-based-auth).
- S3_QUERY: "Authenticating Requests: Using Query Parameters" (S3 API Reference, sigv4-query-string-auth).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

SECRET: Final = b"wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY"
S3_SECRET: Final = b"wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY"
NOTHING: Final = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
_HOST: Final = (("host", "example.amazonaws.com"), ("x-amz-date", "20150830T123600Z"))
_TOKEN: Final = (
    "AQoDYXdzEPT//////////wEXAMPLEtc764bNrC9SAPBSM22wDOk4x4HIZ8j4FZTwdQWLWsKWHGBuFqwAeMicRXmxfpSPfIeoIYRqTflfKD8YUuwthA"
    "x7mSEI/qkPpKPi/kMcGdQrmGdeehM4IC1NtBmUpp2wUE8phUZampKsburEDy0KPkyQDYwT7WZ0wq5VSXDvp75YU9HFvlRd8Tx6q6fE8YQcHNVXAkiY"
    "9q6d+xo0rKwT38xVqr7ZD0u0iPPkUL64lIZbqBAz+scqKmlzm8FDrypNC9Yjc8fPOLn9FX9KSYvKTr4rvx3iSIlTJabIQwj2ICCR/oLxBA=="
)
_UNRESERVED: Final = "-._~0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"


@dataclass(frozen=True)
class Example:
    """One request. A header that comes more than once stands here as a server joins it."""

    name: str
    target: str
    signature: str
    method: str = "GET"
    headers: tuple[tuple[str, str], ...] = ()
    payload: str = NOTHING
    canonical_sha256: str | None = None
    common: tuple[tuple[str, str], ...] = _HOST

    def all_headers(self) -> dict[str, str]:
        return dict((*self.common, *self.headers))

    def signed(self) -> tuple[str, ...]:
        return tuple(sorted(self.all_headers()))


_SLASH: Final = "5fa00fa31553b73ebf1942676e86291e8372ff2a2260956d9b8aae1d763fbf31"
_POST: Final = "5da7c1a2acd57cee7505fc6676e4e544621c30862966e37dddb68e92efbe5d6b"
_PARAM1: Final = "Param1=value1"
_SLASH_SHA256: Final = "bb579772317eb040ac9ed261061d46c1f17a8133879d6129b6e1c25292927e63"
_FORM: Final = "9095672bbd1f56dfc5b65f3e153adc8731a4a654192329106275f4c7b24d0b6e"  # of Param1=value1

SUITE: Final = (
    Example("get-vanilla", "/", _SLASH, canonical_sha256=_SLASH_SHA256),
    Example("get-vanilla-query", "/", _SLASH, canonical_sha256=_SLASH_SHA256),
    Example(
        "get-vanilla-empty-query-key",
        f"/?{_PARAM1}",
        "a67d582fa61cc504c4bae71f336f98b97f1ea3c7a6bfe1b6e45aec72011b9aeb",
        canonical_sha256="1e24db194ed7d0eec2de28d7369675a243488e08526e8c1c73571282f7c517ab",
    ),
    Example(
        "get-vanilla-query-order-key",
        "/?Param1=value2&Param1=Value1",
        "eedbc4e291e521cf13422ffca22be7d2eb8146eecf653089df300a15b2382bd1",
        canonical_sha256="704b4cef673542d84cdff252633f065e8daeba5f168b77116f8b1bcaf3d38f89",
    ),
    Example(
        "get-vanilla-query-order-key-case",
        "/?Param2=value2&Param1=value1",
        "b97d918cfa904a5beff61c982a1b6f458b799221646efd99d3219ec94cdf2500",
        canonical_sha256="816cd5b414d056048ba4f7c5386d6e0533120fb1fcfa93762cf0fc39e2cf19e0",
    ),
    Example(
        "get-vanilla-query-order-value",
        "/?Param1=value2&Param1=value1",
        "5772eed61e12b33fae39ee5e7012498b51d56abc0abb7c60486157bd471c4694",
    ),
    Example(
        "get-vanilla-query-unreserved",
        f"/?{_UNRESERVED}={_UNRESERVED}",
        "9c3e54bfcdf0b19771a7f523ee5669cdf59bc7cc0884027167c21bb143a40197",
        canonical_sha256="c30d4703d9f799439be92736156d47ccfb2d879ddf56f5befa6d1d6aab979177",
    ),
    Example(
        "get-vanilla-utf8-query",
        "/?ሴ=bar",
        "2cdec8eed098649ff3a119c94853b13c643bcf08f8b0a1d91e12c9027818dd04",
        canonical_sha256="eb30c5bed55734080471a834cc727ae56beb50e5f39d1bff6d0d38cb192a7073",
    ),
    Example(
        "get-unreserved",
        f"/{_UNRESERVED}",
        "07ef7494c76fa4850883e2b006601f940f8a34d404d0cfa977f52a65bbf5f24f",
        canonical_sha256="6a968768eefaa713e2a6b16b589a8ea192661f098f37349f4e2c0082757446f9",
    ),
    Example(
        "get-utf8",
        "/ሴ",
        "8318018e0b0f223aa2bbf98705b62bb787dc9c0e678f255a891fd03141be5d85",
        canonical_sha256="2a0a97d02205e45ce2e994789806b19270cfbbb0921b278ccf58f5249ac42102",
    ),
    Example(
        "get-space",
        "/example space/",
        "652487583200325589f1fba4c7e578f72c47cb61beeca81406b39ddec1366741",
        canonical_sha256="63ee75631ed7234ae61b5f736dfc7754cdccfedbff4b5128a915706ee9390d86",
    ),
    Example("get-relative", "/example/..", _SLASH),
    Example("get-relative-relative", "/example1/example2/../..", _SLASH),
    Example("get-slash", "//", _SLASH),
    Example("get-slash-dot-slash", "/./", _SLASH),
    Example(
        "get-slash-pointless-dot",
        "/./example",
        "ef75d96142cf21edca26f06005da7988e4f8dc83a165a80865db7089db637ec5",
        canonical_sha256="214d50c111a8edc4819da6a636336472c916b5240f51e9a51b5c3305180cf702",
    ),
    Example(
        "get-slashes",
        "//example//",
        "9a624bd73a37c9a373b5312afbebe7a714a789de108f0bdfe846570885f57e84",
        canonical_sha256="cb96b4ac96d501f7c5c15bc6d67b3035061cfced4af6585ad927f7e6c985c015",
    ),
    Example(
        "get-header-key-duplicate",
        "/",
        "c9d5ea9f3f72853aea855b47ea873832890dbdd183b4468f858259531a5138ea",
        headers=(("my-header1", "value2,value2,value1"),),
        canonical_sha256="dc7f04a3abfde8d472b0ab1a418b741b7c67174dad1551b4117b15527fbe966c",
    ),
    Example(
        "get-header-value-multiline",  # its three lines are three values there
        "/",
        "ba17b383a53190154eb5fa66a1b836cc297cc0a3d70a5d00705980573d8ff790",
        headers=(("my-header1", "value1,value2,value3"),),
        canonical_sha256="b7b6cbfd8a0430b78891e986784da2630c8a135a8595cec25b26ea94f926ee55",
    ),
    Example(
        "get-header-value-order",
        "/",
        "08c7e5a9acfcfeb3ab6b2185e75ce8b1deb5e634ec47601a50643f830c755c01",
        headers=(("my-header1", "value4,value1,value3,value2"),),
        canonical_sha256="31ce73cd3f3d9f66977ad3dd957dc47af14df92fcd8509f59b349e9137c58b86",
    ),
    Example(
        "get-header-value-trim",
        "/",
        "acc3ed3afb60bb290fc8d2dd0098b9911fcaa05412b367055dee359757a9c736",
        headers=(("my-header1", " value1"), ("my-header2", ' "a   b   c"')),
        canonical_sha256="a726db9b0df21c14f559d0a978e563112acb1b9e05476f0a6a1c7d68f28605c7",
    ),
    Example("post-vanilla", "/", _POST, "POST"),
    Example("post-header-key-case", "/", _POST, "POST"),
    Example(
        "post-header-key-sort",
        "/",
        "c5410059b04c1ee005303aed430f6e6645f61f4dc9e1461ec8f8916fdf18852c",
        "POST",
        (("my-header1", "value1"),),
        canonical_sha256="9368318c2967cf6de74404b30c65a91e8f6253e0a8659d6d5319f1a812f87d65",
    ),
    Example(
        "post-header-value-case",
        "/",
        "cdbc9802e29d2942e5e10b5bccfdd67c5f22c7c4e8ae67b53629efa58b974b7d",
        "POST",
        (("my-header1", "VALUE1"),),
        canonical_sha256="d51ced243e649e3de6ef63afbbdcbca03131a21a7103a1583706a64618606a93",
    ),
    Example(
        "post-sts-header-before",
        "/",
        "85d96828115b5dc0cfc3bd16ad9e210dd772bbebba041836c64533a82be05ead",
        "POST",
        (("x-amz-security-token", _TOKEN),),
        canonical_sha256="c237e1b440d4c63c32ca95b5b99481081cb7b13c7e40434868e71567c1a882f6",
    ),
    Example(
        "post-vanilla-query",
        f"/?{_PARAM1}",
        "28038455d6de14eafc1f9222cf5aa6f1a96197d7deb8263271d420d138af7f11",
        "POST",
        canonical_sha256="9d659678c1756bb3113e2ce898845a0a79dbbc57b740555917687f1b3340fbbd",
    ),
    Example(
        "post-x-www-form-urlencoded",
        "/",
        "ff11897932ad3f4e8b18135d722051e5ac45fc38421b1da7b9d196a0fe09473a",
        "POST",
        (("content-type", "application/x-www-form-urlencoded"),),
        payload=_FORM,
    ),
    Example(
        "post-x-www-form-urlencoded-parameters",
        "/",
        "1a72ec8f64bd914b0e42e42607c7fbce7fb2c7465f63e3092b3b0d39fa77a6fe",
        "POST",
        (("content-type", "application/x-www-form-urlencoded; charset=utf8"),),
        payload=_FORM,
    ),
)

IAM: Final = Example(
    "ListUsers",
    "/?Action=ListUsers&Version=2010-05-08",
    "5d672d79c15b13162d9279b0855cfba6789a8edb4c82c400e06b5924a6f2b5d7",
    headers=(("content-type", "application/x-www-form-urlencoded; charset=utf-8"),),
    canonical_sha256="f536975d06c0309214f805bb90ccff089219ecd68b2577efef23edd43b7e1a59",
    common=(("host", "iam.amazonaws.com"), ("x-amz-date", "20150830T123600Z")),
)
IAM_SIGNING_KEY: Final = "c4afb1cc5771d871763a393e44b703571b55cc28424d1a5e86da6ed3c154a4b9"

_S3: Final = (
    ("host", "examplebucket.s3.amazonaws.com"),
    ("x-amz-content-sha256", NOTHING),
    ("x-amz-date", "20130524T000000Z"),
)
S3_HEADER: Final = (
    Example(
        "GET Object",
        "/test.txt",
        "f0e8bdb87c964420e857bd35b5d6ed310bd44f0170aba48dd91039c6036bdb41",
        headers=(("range", "bytes=0-9"),),
        canonical_sha256="7344ae5b7ee6c3e7e6b0fe0640412a37625d1fbfff95c48bbb2dc43964946972",
        common=_S3,
    ),
    Example(
        "GET Bucket Lifecycle",
        "/?lifecycle",
        "fea454ca298b7da1c68078a5d1bdbfbbe0d65c699e0f91ac7a200a0136783543",
        common=_S3,
    ),
    Example(
        "GET Bucket (List Objects)",
        "/?max-keys=2&prefix=J",
        "34b48302e7b5fa45bde8084f4b7868a86f0a534bc59db6670ed5711ef69dc6f7",
        common=_S3,
    ),
)
S3_QUERY: Final = Example(
    "presigned GET Object",
    "/test.txt?X-Amz-Algorithm=AWS4-HMAC-SHA256"
    "&X-Amz-Credential=AKIAIOSFODNN7EXAMPLE%2F20130524%2Fus-east-1%2Fs3%2Faws4_request"
    "&X-Amz-Date=20130524T000000Z&X-Amz-Expires=86400&X-Amz-SignedHeaders=host"
    "&X-Amz-Signature=aeeed9bbccd4d02ee5c0109b86d86835f995330da4c265957d157751f604d404",
    "aeeed9bbccd4d02ee5c0109b86d86835f995330da4c265957d157751f604d404",
    payload="UNSIGNED-PAYLOAD",
    canonical_sha256="3bfa292879f6447bbcda7001decf97f4a54dc650c8942174ae0a9121cf58ad04",
    common=(("host", "examplebucket.s3.amazonaws.com"),),
)
