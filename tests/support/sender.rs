//! A sender of lines over TCP.

#![allow(dead_code)]

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Ipv4Addr, Shutdown, TcpStream};

use crate::daemon::{EPOCH, PATIENCE};

/// One connection to an input.
pub struct Sender {
    stream: TcpStream,
    answers: BufReader<TcpStream>,
}

/// `{"device": …, "metric": "m", "value": …, "ts": EPOCH + seconds}` and a line feed.
pub fn line(device: &str, seconds: f64, value: f64) -> String {
    let ts = EPOCH as f64 + seconds;
    format!("{{\"device\":\"{device}\",\"metric\":\"m\",\"value\":{value},\"ts\":{ts}}}\n")
}

impl Sender {
    /// To this port on 127.0.0.1.
    pub fn new(port: u16) -> Sender {
        Sender::try_new(port).expect("somebody listens")
    }

    /// As [`new`](Self::new), where nobody may be there.
    pub fn try_new(port: u16) -> std::io::Result<Sender> {
        let stream = TcpStream::connect((Ipv4Addr::LOCALHOST, port))?;
        stream.set_read_timeout(Some(PATIENCE))?;
        stream.set_write_timeout(Some(PATIENCE))?;
        let answers = BufReader::new(stream.try_clone()?);
        Ok(Sender { stream, answers })
    }

    /// Sends bytes.
    pub fn send(&mut self, bytes: impl AsRef<[u8]>) {
        self.stream.write_all(bytes.as_ref()).expect("the connection stands");
    }

    /// As [`send`](Self::send), where it may not stand.
    pub fn try_send(&mut self, bytes: impl AsRef<[u8]>) -> std::io::Result<()> {
        self.stream.write_all(bytes.as_ref())
    }

    /// The next number of lines that are durable; `None`: the connection ended.
    pub fn durable(&mut self) -> Option<u64> {
        let mut answer = String::new();
        match self.answers.read_line(&mut answer) {
            Ok(0) => None,
            Ok(_) if !answer.ends_with('\n') => None,
            Ok(_) => {
                let number = answer.trim_end().strip_prefix("ok ");
                Some(number.and_then(|n| n.parse().ok()).unwrap_or_else(|| panic!("{answer:?}")))
            }
            Err(error) if error.kind() == std::io::ErrorKind::ConnectionReset => None,
            Err(error) => panic!("waiting for an answer: {error}"),
        }
    }

    /// Waits until so many lines are durable, and no more.
    pub fn acknowledged(&mut self, lines: u64) {
        let mut last = 0;
        while last < lines {
            let durable = self.durable().expect("an acknowledgement");
            assert!(last < durable && durable <= lines, "ok {durable} behind {last} of {lines}");
            last = durable;
        }
    }

    /// Waits until an answer is there, and leaves it unread: closing now is a reset.
    pub fn wait_unread(&mut self) {
        let mut byte = [0];
        assert_eq!(self.stream.peek(&mut byte).expect("an answer"), 1);
    }

    /// No more comes from here; answers still may.
    pub fn finish(&mut self) {
        self.stream.shutdown(Shutdown::Write).expect("the connection stands");
    }

    /// Waits for the other side to close; what it said before.
    pub fn closed(mut self) -> String {
        let mut rest = Vec::new();
        // A reset is an end, too.
        let _ = self.answers.read_to_end(&mut rest);
        String::from_utf8_lossy(&rest).into_owned()
    }
}
