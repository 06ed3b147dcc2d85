//! Advice for a server that cannot be reached. It depends on the reason of the failure.

/// Returns the first thing to check. `origin` names the flag, variable or file that contains the address.
pub(super) fn advice(reason: &str, is_tls: bool, origin: &str) -> String {
    let has = |text: &str| reason.to_ascii_lowercase().contains(text);
    let look_at = if has("certificate") || has("tls") || has("handshake") {
        "check the certificates: redis.ca (EVENT_REPLAY_REDIS_CA) names the authority that signed the server's, redis.cert \
         and redis.key name the client's"
    } else if has("is a replica") || has("readonly") {
        "name its master, or the sentinels or nodes that know it (redis+sentinel://, redis+cluster://)"
    } else if is_tls && (has("timed out") || has("reset")) {
        "is the server running, and does it use TLS on this port? redis:// connects without TLS"
    } else if !is_tls && has("reset") {
        "is the server running, and does it require TLS? rediss:// uses TLS"
    } else {
        "is the server running?"
    };
    let join = if look_at.ends_with('?') { " its" } else { "; the" };
    format!("{look_at}{join} address is from {origin}; nothing was read or written")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_reason_says_what_to_look_at() {
        for (reason, is_tls, begins) in [
            (
                "Connection refused (os error 111)",
                false,
                "is the server running? its address is from REDIS_HOST;",
            ),
            ("invalid peer certificate: UnknownIssuer", true, "check the certificates: redis.ca"),
            ("the certificate ca.pem: No such file or directory", true, "check the certificates"),
            (
                "the server is a replica, which takes no writes: name the master, h:1",
                false,
                "name its master",
            ),
            ("READONLY You can't write against a read only replica.", false, "name its master"),
            ("timed out", true, "is the server running, and does it use TLS on this port?"),
            (
                "Connection reset by peer (os error 104)",
                false,
                "is the server running, and does it require TLS?",
            ),
        ] {
            let said = advice(reason, is_tls, "REDIS_HOST");
            assert!(said.starts_with(begins), "{reason}: {said}");
            assert!(said.ends_with("address is from REDIS_HOST; nothing was read or written"), "{said}");
        }
    }
}
