//! Tests who gets access to a broker: passwords, certificates, credentials files, permissions.

use super::*;

#[test]
fn a_refused_password_is_reported_and_a_corrected_file_gives_access() -> Result<()> {
    let broker = Broker::with(|_| Ok("authorization { user: agent, password: \"a:b c\" }".to_owned()))?;
    let file = broker.dir().join("password");
    let mut config = config(&broker.url());
    config.user_password = Some(file.clone());
    run(async {
        let mut sink = sink(&config)?;
        fails(&mut sink, &["password", "No such file"]).await?;
        fs::write(&file, "agent\n")?;
        fails(&mut sink, &["USER:PASSWORD"]).await?;
        fs::write(&file, "agent:wrong\n")?;
        fails(&mut sink, &["cannot connect", "authorization"]).await?;
        fs::write(&file, "agent:a:b c\n")?;
        deliver_all(&mut sink, &messages(1)).await?;
        Ok(())
    })
}

#[test]
fn a_missing_permission_is_named() -> Result<()> {
    let broker = Broker::with(|_| {
        Ok("authorization { users: [{ user: agent, password: x, permissions: { publish: { deny: \"supervisor.>\" } } }] }"
            .to_owned())
    })?;
    let file = broker.dir().join("password");
    fs::write(&file, "agent:x")?;
    let mut config = config(&broker.url());
    config.user_password = Some(file);
    run(async {
        fails(&mut sink(&config)?, &["Permissions Violation", "supervisor.lab.node1.zombie-detected"]).await
    })
}

#[test]
fn certificates_are_checked_on_both_sides() -> Result<()> {
    let broker = Broker::with(|dir| {
        make_certificates(dir)?;
        let path = |name: &str| dir.join(name).display().to_string();
        let (cert, key, ca) = (path("server.pem"), path("server.key"), path("ca.pem"));
        Ok(format!("tls {{ cert_file: \"{cert}\", key_file: \"{key}\", ca_file: \"{ca}\", verify: true }}"))
    })?;
    let plain = config(&broker.url());
    let with_ca = NatsConfig { tls_ca: Some(broker.dir().join("ca.pem")), ..plain.clone() };
    let with_all = NatsConfig {
        tls_cert: Some(broker.dir().join("client.pem")),
        tls_key: Some(broker.dir().join("client.key")),
        ..with_ca.clone()
    };
    let other_ca = NatsConfig { tls_ca: Some(broker.dir().join("other.pem")), ..with_all.clone() };
    run(async {
        fails(&mut sink(&plain)?, &["cannot connect"]).await?;
        fails(&mut sink(&with_ca)?, &["cannot connect"]).await?;
        fails(&mut sink(&other_ca)?, &["cannot connect", "certificate"]).await?;
        deliver_all(&mut sink(&with_all)?, &messages(5)).await?;
        Ok(())
    })
}

/// The limits of received data also hold for decrypted data.
#[test]
fn a_message_that_is_too_large_is_refused_in_tls_too() -> Result<()> {
    let broker = Broker::with(|dir| {
        make_certificates(dir)?;
        let path = |name: &str| dir.join(name).display().to_string();
        let (cert, key) = (path("server.pem"), path("server.key"));
        Ok(format!("max_payload: 8388608\ntls {{ cert_file: \"{cert}\", key_file: \"{key}\" }}"))
    })?;
    let ca = broker.dir().join("ca.pem");
    let list = || -> Result<(Option<i32>, String)> {
        let mut command = Command::new(supervisor_bin()?);
        command.args(["ps", "--from", &broker.url(), "--nats-tls-ca"]).arg(&ca);
        let output = command.stdin(Stdio::null()).output()?;
        Ok((output.status.code(), String::from_utf8_lossy(&output.stderr).into_owned()))
    };
    run(async {
        let config = NatsConfig { tls_ca: Some(ca.clone()), ..config(&broker.url()) };
        deliver_all(&mut sink(&config)?, &messages(1)).await?;
        let (code, said) = list()?;
        ensure!(code != Some(3), "{said}");
        let options = async_nats::ConnectOptions::new().add_root_certificates(ca.clone());
        let client = options.require_tls(true).connect(broker.url()).await?;
        let bucket = async_nats::jetstream::new(client).get_key_value(BUCKET).await?;
        bucket.put("lab.node1.large", vec![b'x'; 3 << 20].into()).await?;
        let (code, said) = list()?;
        ensure!(code == Some(3) && said.contains("message larger than 2 MiB"), "{code:?}: {said}");
        Ok(())
    })
}

/// An authority with a server and a client, and another authority.
fn make_certificates(dir: &Path) -> Result<()> {
    let openssl = |args: &str| -> Result<()> {
        let output = Command::new("openssl").args(args.split(' ')).current_dir(dir).output()?;
        ensure!(output.status.success(), "openssl {args}: {}", String::from_utf8_lossy(&output.stderr));
        Ok(())
    };
    fs::write(dir.join("server.ext"), "subjectAltName=IP:127.0.0.1\nbasicConstraints=CA:FALSE\n")?;
    fs::write(dir.join("client.ext"), "extendedKeyUsage=clientAuth\nbasicConstraints=CA:FALSE\n")?;
    let key = "-newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes";
    for ca in ["ca", "other"] {
        openssl(&format!("req -x509 {key} -keyout {ca}.key -out {ca}.pem -days 2 -subj /CN={ca}"))?;
    }
    for name in ["server", "client"] {
        openssl(&format!("req -new {key} -keyout {name}.key -out {name}.csr -subj /CN={name}"))?;
        openssl(&format!(
            "x509 -req -in {name}.csr -CA ca.pem -CAkey ca.key -CAcreateserial -days 2 -extfile {name}.ext -out {name}.pem"
        ))?;
    }
    Ok(())
}

#[test]
fn a_wrong_configuration_is_refused_at_once() -> Result<()> {
    let good = config("nats://localhost");
    for (bad, word) in [
        (NatsConfig { servers: vec!["http://x".to_owned()], ..good.clone() }, "http://x"),
        (NatsConfig { bucket: "a.b".to_owned(), ..good.clone() }, "bucket"),
        (NatsConfig { stream: "a b".to_owned(), ..good.clone() }, "stream"),
        (NatsConfig { heartbeat: Time::from_secs(0), ..good.clone() }, "heartbeat"),
        (NatsConfig { tls_key: Some("key".into()), ..good.clone() }, "certificate"),
    ] {
        let error = sink(&bad).err().context("it was taken")?.to_string();
        assert!(error.contains(word), "`{word}` is not in: {error}");
    }
    Ok(())
}

#[test]
fn the_documented_permissions_are_enough() -> Result<()> {
    let rights = fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/operations.md"))?;
    // The first list is that of the agent.
    let list = rights.split("```text").nth(1).and_then(|it| it.split("```").next()).context("no list")?;
    let (publish, _) = list.split_once("subscribe:").context("no subscribe")?;
    let allowed: Vec<String> = publish
        .replace("publish:", "")
        .replace("<cluster>", "lab")
        .replace("<host>", "node1")
        .split_whitespace()
        .map(|it| format!("\"{it}\""))
        .collect();
    let without_making = allowed[..allowed.len() - 2].join(", ");
    let user = |name: &str, allowed: &str| {
        format!(
            "{{ user: {name}, password: x, permissions: {{ publish: [{allowed}], subscribe: \"_INBOX.>\" }} }}"
        )
    };
    let broker = Broker::with(|_| {
        let users = [user("maker", &allowed.join(", ")), user("agent", &without_making)];
        Ok(format!("authorization {{ users: [{}] }}", users.join(", ")))
    })?;
    let file = broker.dir().join("password");
    let mut config = config(&broker.url());
    config.user_password = Some(file.clone());
    run(async {
        fs::write(&file, "agent:x")?;
        fails(&mut sink(&config)?, &["Permissions Violation", "STREAM.CREATE"]).await?;
        fs::write(&file, "maker:x")?;
        let errors = deliver_all(&mut sink(&config)?, &messages(3)).await?;
        assert_eq!(errors, [""; 0]);
        fs::write(&file, "agent:x")?;
        let mut sink = sink(&config)?;
        assert_eq!(deliver_all(&mut sink, &messages(5)).await?, [""; 0]);
        assert_eq!(sink.retain(&ids(&[])).await?, [""; 0]);
        // It cannot write events of its neighbour.
        let mut other = NatsSink::open(&config, "lab", &host("node2", "boot"))?;
        fails(&mut other, &["Permissions Violation", "node2"]).await
    })
}

#[test]
fn a_credentials_file_gives_access() -> Result<()> {
    let [operator, account, system] =
        [KeyPair::new_operator(), KeyPair::new_account(), KeyPair::new_account()];
    let user = KeyPair::new_user();
    let unlimited = json!({
        "subs": -1, "data": -1, "payload": -1, "imports": -1, "exports": -1, "wildcards": true, "conn": -1,
        "leaf": -1, "mem_storage": -1, "disk_storage": -1, "streams": -1, "consumer": -1,
    });
    let account_claims = json!({ "type": "account", "version": 2, "limits": unlimited });
    let system_claims = json!({
        "type": "account", "version": 2,
        "limits": { "subs": -1, "data": -1, "payload": -1, "imports": -1, "exports": -1, "wildcards": true, "conn": -1, "leaf": -1 },
    });
    let operator_claims = json!({ "type": "operator", "version": 2, "system_account": system.public_key() });
    let tokens = [
        token(&operator, &operator, &operator_claims)?,
        token(&operator, &account, &account_claims)?,
        token(&operator, &system, &system_claims)?,
    ];
    let broker = Broker::with(|_| {
        Ok(format!(
            "operator: {}\nsystem_account: {}\nresolver: MEMORY\nresolver_preload: {{ {}: {}, {}: {} }}",
            tokens[0],
            system.public_key(),
            account.public_key(),
            tokens[1],
            system.public_key(),
            tokens[2]
        ))
    })?;
    let user_claims =
        json!({ "type": "user", "version": 2, "pub": {}, "sub": {}, "subs": -1, "data": -1, "payload": -1 });
    let user_token = token(&account, &user, &user_claims)?;
    let credentials = |seed: &KeyPair| -> Result<String> {
        Ok(format!(
            "-----BEGIN NATS USER JWT-----\n{user_token}\n------END NATS USER JWT------\n\n\
             -----BEGIN USER NKEY SEED-----\n{}\n------END USER NKEY SEED------\n",
            seed.seed()?
        ))
    };
    let file = broker.dir().join("agent.creds");
    let mut config = config(&broker.url());
    config.credentials = Some(file.clone());
    run(async {
        let mut sink = sink(&config)?;
        fails(&mut sink, &["agent.creds", "No such file"]).await?;
        fs::write(&file, credentials(&KeyPair::new_user())?)?;
        fails(&mut sink, &["cannot connect", "authorization"]).await?;
        fs::write(&file, credentials(&user)?)?;
        assert_eq!(deliver_all(&mut sink, &messages(2)).await?, [""; 0]);
        Ok(())
    })
}

/// A JSON web token of NATS.
fn token(issuer: &KeyPair, subject: &KeyPair, nats: &serde_json::Value) -> Result<String> {
    let header = json!({ "typ": "JWT", "alg": "ed25519-nkey" });
    let claims = json!({
        "jti": "test", "iat": Timestamp::now().as_second(), "iss": issuer.public_key(), "name": "test",
        "sub": subject.public_key(), "nats": nats,
    });
    let text = format!("{}.{}", base64(header.to_string().as_bytes()), base64(claims.to_string().as_bytes()));
    let signature = issuer.sign(text.as_bytes())?;
    Ok(format!("{text}.{}", base64(&signature)))
}

/// Base64 as web tokens have it: without padding.
fn base64(bytes: &[u8]) -> String {
    const LETTERS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    let mut text = String::new();
    for group in bytes.chunks(3) {
        let bits =
            group.iter().fold(0_u32, |bits, byte| bits << 8 | u32::from(*byte)) << (8 * (3 - group.len()));
        for letter in 0..=group.len() {
            text.push(char::from(LETTERS[(bits >> (18 - 6 * letter) & 63) as usize]));
        }
    }
    text
}
