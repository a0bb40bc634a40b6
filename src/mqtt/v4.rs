//! MQTT 3.1.1 in the library's words.

use rumqttc::mqttbytes::Error as PacketError;
use rumqttc::{
    ConnectReturnCode, ConnectionError, LastWill, MqttOptions, Outgoing, Packet, Publish, QoS,
    StateError, SubscribeFilter, SubscribeReasonCode,
};

use super::error::{Context, MqttError};
use super::{Event, Granted, Message, Options, PROTOCOL_MAX_PACKET, Seen};

pub(super) fn options(options: &Options) -> MqttOptions {
    let mut library = MqttOptions::new(options.client_id.as_str(), options.address(), options.port);
    let limit = options.max_packet.min(PROTOCOL_MAX_PACKET) as usize;
    library
        .set_keep_alive(options.keep_alive())
        // A session needs a name: without one the library panics, brokers refuse.
        .set_clean_session(options.clean || options.client_id.is_empty())
        .set_inflight(options.inflight.max(1))
        .set_max_packet_size(limit, limit)
        .set_manual_acks(true);
    if let Some(transport) = options.transport() {
        library.set_transport(transport);
    }
    if let Some(username) = &options.username {
        library.set_credentials(username, options.password.as_deref().unwrap_or_default());
    }
    if let Some(will) = &options.last_will {
        let payload = will.payload.as_slice();
        library.set_last_will(LastWill::new(&will.topic, payload, qos(will.qos), will.retain));
    }
    library
}

pub(super) fn qos(qos: u8) -> QoS {
    if qos == 0 { QoS::AtMostOnce } else { QoS::AtLeastOnce }
}

/// The library acknowledges by the message; only id and QoS matter.
pub(super) fn to_acknowledge(packet_id: u16) -> Publish {
    let mut publish = Publish::new("", QoS::AtLeastOnce, Vec::new());
    publish.pkid = packet_id;
    publish
}

pub(super) fn filters(filters: &[(String, u8)]) -> Vec<SubscribeFilter> {
    filters.iter().map(|(filter, q)| SubscribeFilter::new(filter.clone(), qos(*q))).collect()
}

pub(super) fn event(event: rumqttc::Event) -> Seen {
    match event {
        rumqttc::Event::Incoming(packet) => incoming(packet),
        rumqttc::Event::Outgoing(outgoing) => Seen::Event(self::outgoing(&outgoing)),
    }
}

/// Shared by both versions: the library has one type for what it sends.
pub(super) fn outgoing(outgoing: &Outgoing) -> Event {
    match outgoing {
        Outgoing::Publish(packet_id) => Event::PublishSent(*packet_id),
        Outgoing::PubAck(packet_id) => Event::AcknowledgeSent(*packet_id),
        Outgoing::Disconnect => Event::DisconnectSent,
        _ => Event::Other,
    }
}

fn incoming(packet: Packet) -> Seen {
    match packet {
        Packet::ConnAck(connack) => Seen::Connected {
            session_present: connack.session_present,
            granted: Granted::default(),
        },
        Packet::Publish(publish) => Seen::Message(Message {
            topic: publish.topic,
            payload: publish.payload.to_vec(),
            qos: publish.qos as u8,
            dup: publish.dup,
            retain: publish.retain,
            packet_id: publish.pkid,
        }),
        Packet::PubAck(ack) => {
            Seen::Event(Event::PublishAcknowledged { packet_id: ack.pkid, failure: None })
        }
        Packet::SubAck(ack) => {
            let answers = ack.return_codes.iter().map(|code| match code {
                SubscribeReasonCode::Success(qos) => Ok(*qos as u8),
                SubscribeReasonCode::Failure => Err("the broker does not say why".to_owned()),
            });
            Seen::SubscribeAnswer(answers.collect())
        }
        Packet::PingResp => Seen::Event(Event::Pong),
        _ => Seen::Event(Event::Other),
    }
}

pub(super) fn error(error: &ConnectionError, context: &Context<'_>) -> MqttError {
    match error {
        ConnectionError::MqttState(state) => state_error(state, context),
        ConnectionError::NetworkTimeout | ConnectionError::FlushTimeout => context.timeout(),
        ConnectionError::Io(error) => context.io(error),
        ConnectionError::Tls(rumqttc::TlsError::Io(error)) => context.handshake(error),
        ConnectionError::ConnectionRefused(code) => match code {
            ConnectReturnCode::RefusedProtocolVersion => context.bad_version(),
            ConnectReturnCode::BadClientId => context.bad_client_id(),
            ConnectReturnCode::BadUserNamePassword => context.bad_credentials(),
            ConnectReturnCode::NotAuthorized => context.not_authorized(),
            ConnectReturnCode::ServiceUnavailable | ConnectReturnCode::Success => {
                context.network("the broker says it is unavailable")
            }
        },
        ConnectionError::NotConnAck(_) => context.unanswered("did not answer as a broker does"),
        other => context.network(other),
    }
}

fn state_error(error: &StateError, context: &Context<'_>) -> MqttError {
    match error {
        StateError::Io(error) => context.io(error),
        StateError::ConnectionAborted => context.lost(),
        StateError::AwaitPingResp => context.network("the broker did not answer a ping"),
        StateError::Deserialization(packet) => match packet {
            PacketError::PayloadSizeLimitExceeded(size) => context.oversize(*size),
            PacketError::Io(error) => context.io(error),
            other if !context.connected => {
                context.unanswered(&format!("sent no valid packet ({other})"))
            }
            other => context.network(format!("the broker sent an invalid packet: {other}")),
        },
        other => context.network(other),
    }
}
