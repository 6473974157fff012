//! The settings of a client.

use callhistory_client::Client;

use crate::{WORKSPACE, builder};

#[test]
fn an_unusable_base_url_is_refused() {
    for url in [
        "",
        "127.0.0.1:8080",
        "localhost:8080",
        "ftp://example.com",
        "http://",
        "http://user:hidden@example.com",
        "http://example.com?hidden=1",
        "http://example.com#hidden",
    ] {
        let error = builder(url).build().unwrap_err();
        assert!(error.is_invalid_request() && error.to_string().starts_with("the base URL "), "{url}: {error:?}");
        assert!(!format!("{error:?} {:?}", builder(url)).contains("hidden"));
    }
    for url in ["http://localhost", "http://[::1]:8080/", "https://example.com/calls"] {
        assert_eq!(
            builder(url).build().is_ok(),
            url.starts_with("http:") || cfg!(any(feature = "rustls-no-provider", feature = "native-tls")),
            "{url}"
        );
    }
}

#[test]
fn the_workspace_is_required_and_checked() {
    let url = "http://127.0.0.1:8080";
    assert_eq!(Client::builder(url).build().unwrap_err().to_string(), "the workspace is missing");
    assert!(Client::builder(url).workspace("a b").build().unwrap_err().is_invalid_request());
    assert!(builder(url).max_retries(11).build().unwrap_err().is_invalid_request());
}

#[test]
fn the_api_key_is_never_printed() {
    let builder = builder("http://127.0.0.1:8080").api_key("hidden");
    let before = format!("{builder:?}");
    let after = format!("{:?}", builder.build().unwrap());
    assert!(!before.contains("hidden") && !after.contains("hidden"), "{before} {after}");
    assert!(after.contains(WORKSPACE) && after.contains("127.0.0.1:8080"), "{after}");
    for key in ["", "hidden\n", "hidden key", "hiddén"] {
        let error = crate::builder("http://127.0.0.1:8080").api_key(key).build().unwrap_err();
        assert!(error.is_invalid_request() && !format!("{error:?}").contains("hidd"), "{error:?}");
    }
}
