//! Passwords, keys and certificates of the running daemon: handed to whoever connects, replaced on
//! SIGHUP without a restart.
//!
//! Edge. A new [`Access`] reaches its connection over a watch channel; the connection ends at a
//! point where nothing is lost and comes again with it. What has not changed stays connected.

use std::time::{Duration, Instant};

use tokio::sync::watch;

use crate::config::access::{Door, Loaded, judge};
use crate::config::{Config, Login};
use crate::http::CertificateInfo;
use crate::mqtt::Access;
use crate::secret::Fault;
use crate::tls;

/// How often certificates near their end are warned of.
const WARN_EVERY: Duration = Duration::from_secs(24 * 3600);

/// One login and who uses its access.
struct Line {
    /// `mqtt`, or the forward's name.
    name: String,
    login: Login,
    access: watch::Sender<Access>,
}

/// See the module.
pub struct Accesses {
    mqtt: Line,
    forwards: Vec<Line>,
    door: watch::Sender<Door>,
    /// Of the inputs of lines, in order, with their names.
    inputs: Vec<(String, watch::Sender<Door>)>,
    /// What is in use, and the configuration that it was read from.
    loaded: Loaded,
    config: Config,
    warned: Option<Instant>,
}

impl Accesses {
    /// Reads what the configuration names.
    ///
    /// # Errors
    /// All faults, a line each.
    pub fn read(config: &Config) -> Result<Accesses, String> {
        let loaded = Loaded::read(config).map_err(lines)?;
        let line = |name: &str, login: &Login, access: &Access| Line {
            name: name.to_owned(),
            login: login.clone(),
            access: watch::Sender::new(access.clone()),
        };
        let forwards = config.forwards.iter().zip(&loaded.forwards);
        Ok(Accesses {
            mqtt: line("mqtt", &config.mqtt.login, &loaded.mqtt),
            forwards: forwards.map(|(f, access)| line(&f.name, &f.login, access)).collect(),
            door: watch::Sender::new(loaded.http.clone()),
            inputs: (config.tcp.iter().zip(&loaded.tcp))
                .map(|(input, door)| (input.name.clone(), watch::Sender::new(door.clone())))
                .collect(),
            loaded,
            config: config.clone(),
            warned: None,
        })
    }

    /// Of the site's broker.
    pub fn mqtt(&self) -> watch::Receiver<Access> {
        self.mqtt.access.subscribe()
    }

    /// Of the forward with this index.
    pub fn forward(&self, index: usize) -> watch::Receiver<Access> {
        match self.forwards.get(index) {
            Some(line) => line.access.subscribe(),
            None => watch::Sender::new(Access::default()).subscribe(),
        }
    }

    /// Of the page.
    pub fn door(&self) -> watch::Receiver<Door> {
        self.door.subscribe()
    }

    /// Of the input with this index.
    pub fn input(&self, index: usize) -> watch::Receiver<Door> {
        match self.inputs.get(index) {
            Some((_, door)) => door.subscribe(),
            None => watch::Sender::new(Door::default()).subscribe(),
        }
    }

    /// Reads what a new configuration names; [`adopt`](Self::adopt) puts it to use.
    ///
    /// # Errors
    /// All faults, a line each; among them a new certificate that is not valid now, and a list of
    /// revoked ones that has ended.
    pub fn prepare(&self, config: &Config) -> Result<Loaded, String> {
        let loaded = Loaded::read(config).map_err(lines)?;
        let before = self.loaded.own(&self.config);
        let now = tls::now();
        let bad: Vec<String> = loaded
            .own(config)
            .iter()
            .filter(|own| before.iter().all(|old| old.certificate != own.certificate))
            .filter_map(|own| judge(own, now).filter(|(bad, _)| *bad).map(|(_, text)| text))
            .chain(loaded.ended_lists(config, now))
            .collect();
        if bad.is_empty() { Ok(loaded) } else { Err(bad.join("\n")) }
    }

    /// Puts it to use where it differs. A login of another broker waits for the restart that the
    /// rest of it waits for.
    pub fn adopt(&mut self, loaded: Loaded, config: &Config) {
        let adopt = |line: &mut Line, login: &Login, access: &Access| {
            if !line.login.same_session(login) {
                return;
            }
            line.login.clone_from(login);
            let changed = line.access.send_if_modified(|current| {
                let changed = current != access;
                current.clone_from(access);
                changed
            });
            if changed {
                tracing::info!(used_by = %line.name, "password or certificates changed: connecting with the new ones");
            }
        };
        adopt(&mut self.mqtt, &config.mqtt.login, &loaded.mqtt);
        for (forward, access) in config.forwards.iter().zip(&loaded.forwards) {
            if let Some(line) = self.forwards.iter_mut().find(|line| line.name == forward.name) {
                adopt(line, &forward.login, access);
            }
        }
        let change = |door: &watch::Sender<Door>, new: &Door, used_by: &str| {
            let changed = door.send_if_modified(|current| {
                let changed = current != new;
                current.clone_from(new);
                changed
            });
            if changed {
                tracing::info!(%used_by, "certificate or token changed");
            }
        };
        // Where page and inputs listen stays until a restart; without TLS or token they may not be
        // left there.
        if config.http.listen == self.config.http.listen {
            change(&self.door, &loaded.http, "http");
        }
        for (input, door) in config.tcp.iter().zip(&loaded.tcp) {
            if let Some((name, current)) = self.inputs.iter().find(|(name, _)| *name == input.name)
            {
                change(current, door, name);
            }
        }
        self.loaded = loaded;
        self.config = config.clone();
        self.warned = None;
    }

    /// Warns of certificates that end soon, once a day and after each change.
    pub fn warn(&mut self) {
        if self.warned.is_some_and(|at| at.elapsed() < WARN_EVERY) {
            return;
        }
        self.warned = Some(Instant::now());
        let now = tls::now();
        for text in self.loaded.ended_lists(&self.config, now) {
            tracing::error!("{text}");
        }
        for own in self.loaded.own(&self.config) {
            match judge(&own, now) {
                Some((true, text)) => tracing::error!(used_by = own.used_by, "{text}"),
                Some((false, text)) => tracing::warn!(used_by = own.used_by, "{text}"),
                None => {}
            }
        }
    }

    /// For status and metrics: our own certificates, and those of the brokers last connected to.
    pub fn certificates(&self) -> Vec<CertificateInfo> {
        let info = |used_by: &str, whose, not_after| CertificateInfo {
            used_by: used_by.to_owned(),
            whose,
            not_after,
        };
        let mut found = Vec::new();
        for line in std::iter::once(&self.mqtt).chain(&self.forwards) {
            let access = line.access.borrow();
            let Some(client) = &access.tls else { continue };
            found.extend(client.list_end.map(|end| info(&line.name, "crl", end)));
            if let Some(own) = &client.own {
                found.push(info(&line.name, "own", own.not_after));
            }
            if let Some(not_after) = client.broker_not_after() {
                found.push(info(&line.name, "broker", not_after));
            }
        }
        let inputs = self.inputs.iter().map(|(name, door)| (name.as_str(), door));
        for (used_by, door) in std::iter::once(("http", &self.door)).chain(inputs) {
            if let Some(server) = &door.borrow().tls {
                found.push(info(used_by, "own", server.certificate.not_after));
                found.extend(server.list_end.map(|end| info(used_by, "crl", end)));
            }
        }
        found
    }
}

fn lines(faults: Vec<Fault>) -> String {
    let lines: Vec<String> = faults.into_iter().map(|fault| fault.text).collect();
    lines.join("\n")
}
