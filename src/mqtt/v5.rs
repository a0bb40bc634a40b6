//! MQTT 5 in the library's words.
//!
//! Topic aliases are never offered: the library queues a message before it resolves its alias, so
//! the topic would arrive empty.

use rumqttc::v5::mqttbytes::v5::{
    ConnAckProperties, ConnectProperties, ConnectReturnCode, DisconnectReasonCode, Filter,
    LastWill, Packet, PubAckReason, Publish, SubscribeReasonCode,
};
use rumqttc::v5::mqttbytes::{Error as PacketError, QoS};
use rumqttc::v5::{ConnectionError, MqttOptions, StateError};
use std::time::Duration;

use super::error::{Context, MqttError};
use super::{Event, Granted, Message, Options, PATIENCE, PROTOCOL_MAX_PACKET, Seen, v4};

pub(super) fn options(options: &Options) -> MqttOptions {
    let mut library = MqttOptions::new(options.client_id.as_str(), options.address(), options.port);
    let mut properties = ConnectProperties::new();
    properties.receive_maximum = Some(options.receive_maximum.max(1));
    properties.max_packet_size = Some(options.max_packet.clamp(1, PROTOCOL_MAX_PACKET));
    let expiry = if options.clean { 0 } else { options.session_expiry.as_secs() };
    properties.session_expiry_interval = Some(u32::try_from(expiry).unwrap_or(u32::MAX));
    library
        .set_keep_alive(options.keep_alive())
        .set_clean_start(options.clean)
        .set_connect_properties(properties)
        // Without a limit the library sets aside room for 65,535 packets.
        .set_outgoing_inflight_upper_limit(options.inflight.max(1))
        .set_connection_timeout(PATIENCE.as_secs())
        .set_network_options(super::network_options(options))
        .set_manual_acks(true);
    if let Some(transport) = options.transport() {
        library.set_transport(transport);
    }
    if let Some(username) = &options.username {
        library.set_credentials(username, options.password.as_deref().unwrap_or_default());
    }
    if let Some(will) = &options.last_will {
        let payload = will.payload.as_slice();
        let will = LastWill::new(&will.topic, payload, qos(will.qos), will.retain, None);
        library.set_last_will(will);
    }
    library
}

pub(super) fn qos(qos: u8) -> QoS {
    if qos == 0 { QoS::AtMostOnce } else { QoS::AtLeastOnce }
}

/// The library acknowledges by the message; only id and QoS matter.
pub(super) fn to_acknowledge(packet_id: u16) -> Publish {
    Publish { qos: QoS::AtLeastOnce, pkid: packet_id, ..Publish::default() }
}

pub(super) fn filters(filters: &[(String, u8)]) -> Vec<Filter> {
    filters.iter().map(|(filter, q)| Filter::new(filter.clone(), qos(*q))).collect()
}

pub(super) fn event(event: rumqttc::v5::Event) -> Seen {
    match event {
        rumqttc::v5::Event::Incoming(packet) => incoming(packet),
        rumqttc::v5::Event::Outgoing(outgoing) => Seen::Event(v4::outgoing(&outgoing)),
    }
}

fn incoming(packet: Packet) -> Seen {
    match packet {
        Packet::ConnAck(connack) => Seen::Connected {
            session_present: connack.session_present,
            granted: connack.properties.as_ref().map(granted).unwrap_or_default(),
        },
        Packet::Publish(publish) => Seen::Message(Message {
            topic: String::from_utf8_lossy(&publish.topic).into_owned(),
            payload: publish.payload.to_vec(),
            qos: publish.qos as u8,
            dup: publish.dup,
            retain: publish.retain,
            packet_id: publish.pkid,
        }),
        Packet::PubAck(ack) => {
            let detail = ack.properties.and_then(|properties| properties.reason_string);
            let failure = publish_failure(ack.reason).map(|reason| with_detail(reason, detail));
            Seen::Event(Event::PublishAcknowledged { packet_id: ack.pkid, failure })
        }
        Packet::SubAck(ack) => {
            let detail = ack.properties.and_then(|properties| properties.reason_string);
            let answers = ack.return_codes.iter().map(|code| match code {
                SubscribeReasonCode::Success(qos) => Ok(*qos as u8),
                code => Err(with_detail(subscribe_failure(code), detail.clone())),
            });
            Seen::SubscribeAnswer(answers.collect())
        }
        Packet::PingResp(_) => Seen::Event(Event::Pong),
        _ => Seen::Event(Event::Other),
    }
}

fn granted(properties: &ConnAckProperties) -> Granted {
    Granted {
        max_packet: properties.max_packet_size,
        receive_maximum: properties.receive_max,
        max_qos: properties.max_qos,
        retain: properties.retain_available.map(|available| available != 0),
        session_expiry: properties
            .session_expiry_interval
            .map(|seconds| Duration::from_secs(u64::from(seconds))),
        keep_alive: properties
            .server_keep_alive
            .map(|seconds| Duration::from_secs(u64::from(seconds))),
    }
}

fn with_detail(reason: &str, detail: Option<String>) -> String {
    match detail {
        Some(detail) => format!("{reason} ({detail})"),
        None => reason.to_owned(),
    }
}

fn publish_failure(reason: PubAckReason) -> Option<&'static str> {
    match reason {
        // Nobody subscribed: taken all the same.
        PubAckReason::Success | PubAckReason::NoMatchingSubscribers => None,
        PubAckReason::UnspecifiedError => Some("the broker does not say why"),
        PubAckReason::ImplementationSpecificError => Some("not accepted by this broker"),
        PubAckReason::NotAuthorized => Some("not authorized to publish to this topic"),
        PubAckReason::TopicNameInvalid => Some("topic name not accepted"),
        PubAckReason::PacketIdentifierInUse => Some("packet identifier in use"),
        PubAckReason::QuotaExceeded => Some("quota exceeded"),
        PubAckReason::PayloadFormatInvalid => Some("payload format not accepted"),
    }
}

fn subscribe_failure(code: &SubscribeReasonCode) -> &'static str {
    match code {
        SubscribeReasonCode::Success(_) => "granted",
        SubscribeReasonCode::Failure | SubscribeReasonCode::Unspecified => {
            "the broker does not say why"
        }
        SubscribeReasonCode::ImplementationSpecific => "not accepted by this broker",
        SubscribeReasonCode::NotAuthorized => "not authorized",
        SubscribeReasonCode::TopicFilterInvalid => "topic filter not accepted",
        SubscribeReasonCode::PkidInUse => "packet identifier in use",
        SubscribeReasonCode::QuotaExceeded => "quota exceeded",
        SubscribeReasonCode::SharedSubscriptionsNotSupported => {
            "the broker has no shared subscriptions"
        }
        SubscribeReasonCode::SubscriptionIdNotSupported => {
            "the broker has no subscription identifiers"
        }
        SubscribeReasonCode::WildcardSubscriptionsNotSupported => {
            "the broker has no wildcard subscriptions"
        }
    }
}

pub(super) fn error(error: &ConnectionError, context: &Context<'_>) -> MqttError {
    match error {
        ConnectionError::MqttState(state) => state_error(state, context),
        ConnectionError::Timeout(_) => context.timeout(),
        ConnectionError::Io(error) => context.io(error),
        ConnectionError::Tls(rumqttc::TlsError::Io(error)) => context.handshake(error),
        ConnectionError::ConnectionRefused(code) => refused(*code, context),
        ConnectionError::NotConnAck(_) => context.unanswered("did not answer as a broker does"),
        other => context.network(other),
    }
}

fn refused(code: ConnectReturnCode, context: &Context<'_>) -> MqttError {
    match code {
        ConnectReturnCode::RefusedProtocolVersion
        | ConnectReturnCode::UnsupportedProtocolVersion => context.bad_version(),
        ConnectReturnCode::BadClientId | ConnectReturnCode::ClientIdentifierNotValid => {
            context.bad_client_id()
        }
        ConnectReturnCode::BadUserNamePassword => context.bad_credentials(),
        ConnectReturnCode::NotAuthorized => context.not_authorized(),
        ConnectReturnCode::ServiceUnavailable
        | ConnectReturnCode::ServerUnavailable
        | ConnectReturnCode::ServerBusy
        | ConnectReturnCode::ConnectionRateExceeded
        | ConnectReturnCode::QuotaExceeded
        | ConnectReturnCode::UnspecifiedError
        | ConnectReturnCode::Success => {
            context.network(format!("the broker takes no connection now ({code:?})"))
        }
        code => context.refused(format!("the broker refused the connection ({code:?})")),
    }
}

fn state_error(error: &StateError, context: &Context<'_>) -> MqttError {
    match error {
        StateError::Io(error) => context.io(error),
        StateError::ConnectionAborted => context.lost(),
        StateError::AwaitPingResp => context.network("the broker did not answer a ping"),
        StateError::IncomingPacketTooLarge { pkt_size, .. } => context.oversize(*pkt_size),
        StateError::ConnFail { reason } => refused(*reason, context),
        StateError::ServerDisconnect { reason_code, reason_string } => {
            disconnected(*reason_code, reason_string.clone(), context)
        }
        StateError::Deserialization(packet) => match packet {
            PacketError::PayloadSizeLimitExceeded { pkt_size, .. } => context.oversize(*pkt_size),
            PacketError::Io(error) => context.io(error),
            other if !context.connected => {
                context.unanswered(&format!("sent no valid packet ({other})"))
            }
            other => context.network(format!("the broker sent an invalid packet: {other}")),
        },
        other => context.network(other),
    }
}

fn disconnected(
    code: DisconnectReasonCode,
    detail: Option<String>,
    context: &Context<'_>,
) -> MqttError {
    use DisconnectReasonCode as Code;
    match code {
        Code::NotAuthorized => context.not_authorized(),
        Code::SessionTakenOver => context.refused(
            "another client connected with the same client_id: every gateway and every \
             connection needs its own",
        ),
        Code::TopicFilterInvalid
        | Code::TopicNameInvalid
        | Code::PacketTooLarge
        | Code::RetainNotSupported
        | Code::QoSNotSupported
        | Code::UseAnotherServer
        | Code::ServerMoved
        | Code::SharedSubscriptionNotSupported
        | Code::SubscriptionIdentifiersNotSupported
        | Code::WildcardSubscriptionsNotSupported => {
            let reason = format!("{code:?}");
            context.refused(format!("the broker ended it: {}", with_detail(&reason, detail)))
        }
        code => {
            let reason = format!("{code:?}");
            context.network(format!("the broker ended it: {}", with_detail(&reason, detail)))
        }
    }
}
