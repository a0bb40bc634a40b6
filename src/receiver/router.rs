//! Which subscription a topic belongs to, and how its payload, or a line of an input, is read.
//!
//! Pure. The first template that fits, in order of configuration, wins.

use std::fmt;

use crate::decoder::Decoder;
use crate::decoder::settings::Subscription;
use crate::receiver::topic::{Captures, Template};

/// One compiled subscription.
#[derive(Debug)]
struct Route {
    templates: Vec<Template>,
    decoder: Decoder,
    qos: u8,
    retained: bool,
}

/// All subscriptions.
#[derive(Debug, Default)]
pub struct Router {
    routes: Vec<Route>,
    inputs: Vec<Decoder>,
}

/// Where a topic leads.
pub struct Routed<'a> {
    /// Reads the payload.
    pub decoder: &'a Decoder,
    /// What the topic says.
    pub captures: Captures<'a>,
    /// Whether retained messages are wanted.
    pub retained: bool,
}

impl Router {
    /// Compiles the subscriptions.
    ///
    /// # Errors
    /// Says which one is wrong and how to mend it; the configuration checks the same before.
    pub fn new(subscriptions: &[Subscription]) -> Result<Router, String> {
        let mut routes = Vec::with_capacity(subscriptions.len());
        for subscription in subscriptions {
            let templates =
                subscription.topics.iter().map(|t| Template::parse(t)).collect::<Result<_, _>>()?;
            routes.push(Route {
                templates,
                decoder: Decoder::new(subscription)?,
                qos: subscription.qos,
                retained: subscription.retained,
            });
        }
        Ok(Router { routes, inputs: Vec::new() })
    }

    /// With these inputs of lines besides.
    ///
    /// # Errors
    /// As [`new`](Self::new).
    pub fn with_lines<'a>(
        mut self,
        inputs: impl IntoIterator<Item = &'a Subscription>,
    ) -> Result<Router, String> {
        self.inputs = inputs.into_iter().map(Decoder::new).collect::<Result<_, _>>()?;
        Ok(self)
    }

    /// How lines of the input with this index are read.
    pub fn lines(&self, input: usize) -> Option<&Decoder> {
        self.inputs.get(input)
    }

    /// The route of a topic.
    pub fn route<'a>(&'a self, topic: &'a str) -> Option<Routed<'a>> {
        self.routes.iter().find_map(|route| {
            let captures = route.templates.iter().find_map(|t| t.capture(topic))?;
            Some(Routed { decoder: &route.decoder, captures, retained: route.retained })
        })
    }

    /// The filters to subscribe to, with their QoS, without repeats.
    pub fn filters(&self) -> Vec<(String, u8)> {
        let mut filters: Vec<(String, u8)> = Vec::new();
        for route in &self.routes {
            for template in &route.templates {
                let filter = template.filter();
                match filters.iter_mut().find(|(known, _)| *known == filter) {
                    Some((_, qos)) => *qos = (*qos).max(route.qos),
                    None => filters.push((filter, route.qos)),
                }
            }
        }
        filters
    }
}

/// Where a payload came from, safe to log.
#[derive(Clone, Copy, Debug)]
pub enum Origin<'a> {
    /// On this topic.
    Topic(&'a str),
    /// As a line of the input with this name.
    Input(&'a str),
}

impl fmt::Display for Origin<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Origin::Topic(topic) => write!(f, "topic {topic:?}"),
            Origin::Input(name) => write!(f, "input {name:?}"),
        }
    }
}
