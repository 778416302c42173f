//! CKA_UNWRAP_TEMPLATE, which the `cryptoki` crate does not know: an attribute whose value is an array of attributes.
//!
//! The crate passes an attribute of a kind that it does not know as bytes. An array of CK_ATTRIBUTE is bytes too, some of
//! them addresses (PKCS#11 3.1, section 4.10.2); they are of statics, so that they stay good.

use cryptoki::object::{Attribute, AttributeType};
use cryptoki_sys::{
    CK_ATTRIBUTE, CK_ATTRIBUTE_TYPE, CK_BBOOL, CK_FALSE, CK_TRUE, CK_ULONG, CKA_DERIVE, CKA_EXTRACTABLE, CKA_SENSITIVE,
    CKA_UNWRAP_TEMPLATE,
};

static YES: CK_BBOOL = CK_TRUE;
static NO: CK_BBOOL = CK_FALSE;

/// What the use key forces on all that it unwraps: it stays inside. Nor may another key be derived from it: one of a
/// single byte (CKM_EXTRACT_KEY_FROM_KEY) could be guessed.
const FORCED: [(CK_ATTRIBUTE_TYPE, &CK_BBOOL); 3] = [(CKA_SENSITIVE, &YES), (CKA_EXTRACTABLE, &NO), (CKA_DERIVE, &NO)];

/// The fields of a CK_ATTRIBUTE follow each other without a gap, as they are written below.
const _: () = assert!(size_of::<CK_ATTRIBUTE>() == 2 * size_of::<CK_ULONG>() + size_of::<usize>());

/// The attribute, for the use key's template.
pub fn of_use_key() -> Attribute {
    // The allocator aligns what is as large as this for any type of C.
    let mut array = Vec::with_capacity(size_of::<[CK_ATTRIBUTE; FORCED.len()]>());
    for (kind, value) in FORCED {
        array.extend(kind.to_ne_bytes());
        array.extend(std::ptr::from_ref(value).expose_provenance().to_ne_bytes());
        array.extend((size_of::<CK_BBOOL>() as CK_ULONG).to_ne_bytes());
    }
    Attribute::VendorDefined((AttributeType::VendorDefined(CKA_UNWRAP_TEMPLATE), array))
}
