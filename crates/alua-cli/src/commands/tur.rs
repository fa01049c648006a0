//! `alua tur`: TEST UNIT READY down one path.

use alua_core::access::AccessState;
use alua_core::cause::SenseCode;
use alua_core::sense::meaning;
use alua_core::spc::Status;
use alua_core::spc::cdb::Cdb;
use alua_host::driver::Clock as _;
use alua_host::transport::{Data, Reply};
use serde::Serialize;

use super::print;
use crate::ask;
use crate::cli::{Global, Tur};
use crate::error::{Error, reply_text};
use crate::exit::Exit;
use crate::render::json;
use crate::render::style::{BAD, GOOD, paint};
use crate::target::World;
use crate::target::trace::hex;
use crate::view::{SCHEMA, SchemaVersion, SenseView};

#[derive(Debug, Serialize)]
struct Answer {
    schema_version: SchemaVersion,
    device: String,
    sent: u32,
    good: u32,
    results: Vec<One>,
    exit_code: u8,
}

#[derive(Debug, Serialize)]
struct One {
    status: Option<String>,
    sense: Option<SenseView>,
    sense_bytes: Option<String>,
    state: Option<&'static str>,
    error: Option<String>,
    took_ms: u64,
}

pub(crate) fn run(global: &Global, args: &Tur) -> Result<Exit, Error> {
    let world = World::open(&global.choice())?;
    let mut device = world.device(&args.device)?;
    let mut exit = Exit::Good;
    let mut answer = Answer {
        schema_version: SCHEMA,
        device: device.label.clone(),
        sent: 0,
        good: 0,
        results: Vec::new(),
        exit_code: 0,
    };
    for number in 0..args.count {
        if number > 0 && args.delay > 0 {
            world.clock().sleep_until(world.clock().now().after(args.delay));
        }
        let before = world.clock().now();
        let reply = ask::once(
            &mut device.line,
            &answer.device,
            "TEST UNIT READY",
            &Cdb::TestUnitReady,
            Data::None,
            world.timeout_ms(),
        );
        let took_ms = world.clock().now().since(before);
        let (one, this, text) = judge(reply, took_ms);
        answer.good += u32::from(this == Exit::Good);
        answer.sent += 1;
        answer.results.push(one);
        exit = this;
        if !global.json {
            print(&format!("{}: {text} ({took_ms} ms)\n", answer.device))?;
        }
    }
    answer.exit_code = exit.code();
    if global.json {
        print(&json::text(&answer)?)?;
    } else if args.count > 1 {
        print(&format!("{}: {} of {} good\n", answer.device, answer.good, answer.sent))?;
    }
    Ok(exit)
}

/// One answer: for programs, as exit code, and for people.
fn judge(reply: Result<Reply, Error>, took_ms: u64) -> (One, Exit, String) {
    let nothing =
        One { status: None, sense: None, sense_bytes: None, state: None, error: None, took_ms };
    let reply = match reply {
        Ok(reply) => reply,
        Err(error) => {
            let text = error.to_string();
            let shown = paint(BAD, &text).to_string();
            return (One { error: Some(text), ..nothing }, error.exit(), shown);
        }
    };
    let sense = reply.parsed_sense().and_then(Result::ok);
    let state = sense.as_ref().and_then(|sense| meaning(sense).state).map(AccessState::name);
    let bytes = reply.sense.as_bytes();
    let one = One {
        status: Some(reply.status.to_string()),
        sense: sense.as_ref().map(|sense| SenseCode::from(sense).into()),
        sense_bytes: (!bytes.is_empty()).then(|| hex(bytes)),
        state,
        ..nothing
    };
    let text = if reply.status == Status::Good {
        paint(GOOD, "ready").to_string()
    } else {
        let what = state.map_or("not ready".to_owned(), |state| format!("not ready, {state}"));
        format!("{}: {}", paint(BAD, &what), reply_text(&reply))
    };
    (one, Exit::of_reply(&reply).as_sg_turs(), text)
}
