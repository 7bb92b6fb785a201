//! A configuration: what is read is written and read again as the same.

#![no_main]

use libfuzzer_sys::{Corpus, fuzz_target};
use supervisor_user::config::Config;

fuzz_target!(|text: &str| -> Corpus {
    let Ok(config) = Config::parse(text, "fuzz") else { return Corpus::Keep };
    let written = toml::to_string(&config).expect("a configuration can be written");
    match Config::parse(&written, "written") {
        Ok(again) => assert_eq!(config, again, "it was written as {written}"),
        Err(error) => panic!("what was written is not read: {error}: {written}"),
    }
    Corpus::Keep
});
