//! An upstream that always says a little more, and never gives an answer.

use std::time::Duration;

use tokio::io::AsyncWriteExt as _;
use tokio::net::{TcpListener, TcpStream};
use tokio::time::{interval, timeout};

use super::{RATES, put_behind};
use crate::clients::problem;
use crate::gateway_process::GatewayProcess;
use crate::raw_upstream::read_message;

/// Answers with the beginning and then with one piece after the other, sooner than reading would time out.
async fn drip(mut stream: TcpStream, beginning: &str, piece: &str) {
    read_message(&mut stream, &mut Vec::new()).await;
    let mut written = stream.write_all(beginning.as_bytes()).await;
    let mut ticks = interval(Duration::from_millis(50));
    while written.is_ok() {
        ticks.tick().await;
        written = stream.write_all(piece.as_bytes()).await;
    }
}

#[tokio::test]
async fn an_answer_that_never_begins_is_given_up_when_the_time_of_the_route_is_over() {
    let gateway = GatewayProcess::start().await;
    let a_head = ("HTTP/1.1 200 OK\r\nLink: ", "a");
    let hints = (
        "HTTP/1.1 103 Early Hints\r\nLink: ",
        "a\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: ",
    );
    for (beginning, piece) in [a_head, hints] {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = format!("http://{}", listener.local_addr().unwrap());
        let timeouts = "    timeouts: { connect: 1s, read: 1s, total: 1s }\n";
        put_behind(&gateway, &[address], timeouts).await;
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(drip(stream, beginning, piece));
            }
        });
        let answer = timeout(Duration::from_secs(30), gateway.get(RATES)).await;
        problem(answer.expect("it is given up"), 504, "upstream-timeout").await;
    }
}
