//! The list of known leaks of `supervisor leaks`.

#![no_main]

use libfuzzer_sys::fuzz_target;
use supervisor_user::leaks::allow::AllowList;

fuzz_target!(|data: &[u8]| {
    let _no_panic = AllowList::parse(&String::from_utf8_lossy(data));
});
