//! The login phase of a connection (RFC 7143, section 6.3), without I/O.
//!
//! # States
//!
//! A login is in the security stage or in the operational stage; the initiator's first request says
//! in which it begins. Each request is answered by one response. A request with T asks for the next
//! stage; it is granted once nothing is left to say in this one. The full feature phase begins with
//! the response that grants it.
//!
//! # Invariants
//!
//! - Where an account exists, no login leaves for the full feature phase unless CHAP was passed in
//!   it, whatever stages the initiator names.
//! - ISID, TSIH, CID and tag of the first request hold for the whole login.
//! - A login has at most [`STEPS_MAX`] requests and each key is negotiated once.

pub(crate) mod chap;
pub(crate) mod keys;

use crate::pdu::layout::LoginRequest;
use crate::settings::{Account, Settings};
use crate::text::{self, TEXT_MAX, TextError};
use chap::Algorithm;
use keys::{Parameters, Said};

/// Requests of one login. CHAP takes four; a text may be cut into pieces.
const STEPS_MAX: u32 = 32;
/// Keys of one login.
const KEYS_MAX: usize = 256;

const SECURITY: u8 = 0;
const OPERATIONAL: u8 = 1;
const FULL_FEATURE: u8 = 3;

/// Why a login is refused: status class and detail (RFC 7143, section 11.13.5).
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum Refusal {
    /// 0200h, with what the initiator did.
    #[error("{0}")]
    InitiatorError(&'static str),
    /// 0200h: the text cannot be read.
    #[error("{0}")]
    Text(#[from] TextError),
    /// 0201h.
    #[error("authentication failed: {0}")]
    Authentication(&'static str),
    /// 0203h.
    #[error("there is no target {0:?} here")]
    NotFound(String),
    /// 0205h.
    #[error("the initiator wants another version of iSCSI")]
    Version,
    /// 0206h.
    #[error("the session has its one connection already")]
    TooManyConnections,
    /// 0207h, with the key.
    #[error("the initiator does not say its {0}")]
    MissingParameter(&'static str),
    /// 0209h.
    #[error("the session type is neither Normal nor Discovery")]
    SessionType,
    /// 020Ah.
    #[error("there is no session with this TSIH")]
    NoSession,
    /// 0301h.
    #[error("the target port is down")]
    PortDown,
    /// 0302h.
    #[error("there are too many sessions")]
    OutOfResources,
}

impl Refusal {
    /// Status class and detail.
    #[must_use]
    pub const fn status(&self) -> (u8, u8) {
        match self {
            Self::InitiatorError(_) | Self::Text(_) => (2, 0),
            Self::Authentication(_) => (2, 1),
            Self::NotFound(_) => (2, 3),
            Self::Version => (2, 5),
            Self::TooManyConnections => (2, 6),
            Self::MissingParameter(_) => (2, 7),
            Self::SessionType => (2, 9),
            Self::NoSession => (2, 0x0a),
            Self::PortDown => (3, 1),
            Self::OutOfResources => (3, 2),
        }
    }
}

/// Where the random bytes of challenges come from.
pub type Entropy = Box<dyn FnMut(&mut [u8]) + Send>;

/// A login as it goes on.
#[derive(Debug, Default)]
pub(crate) struct Login {
    first: Option<LoginRequest>,
    stage: u8,
    steps: u32,
    /// Text of requests with C set, so far.
    partial: Vec<u8>,
    seen: Vec<String>,
    pub(crate) initiator: Option<String>,
    pub(crate) discovery: bool,
    target: Option<String>,
    chap: Chap,
    /// The name by which the initiator was authenticated.
    pub(crate) authenticated: Option<String>,
    pub(crate) parameters: Parameters,
    declared: bool,
    introduced: bool,
}

/// How far the authentication has come.
#[derive(Debug, Default)]
enum Chap {
    #[default]
    NotBegun,
    Chosen,
    Challenged {
        algorithm: Algorithm,
        identifier: u8,
        challenge: Vec<u8>,
    },
    Passed,
    NotNeeded,
}

/// The answer to one request.
#[derive(Debug)]
pub(crate) struct Step {
    pub(crate) text: Vec<u8>,
    /// Byte 1 of the response: T, CSG, NSG.
    pub(crate) flags: u8,
    /// The full feature phase begins.
    pub(crate) done: bool,
}

/// What of a request matters to CHAP.
#[derive(Default)]
struct ChapKeys<'a> {
    algorithms: Option<&'a str>,
    name: Option<&'a str>,
    response: Option<&'a str>,
    identifier: Option<&'a str>,
    challenge: Option<&'a str>,
}

impl Login {
    /// The first request: ISID, TSIH, CID.
    pub(crate) const fn identity(&self) -> Option<&LoginRequest> {
        self.first.as_ref()
    }

    /// Takes a request and says what to answer. `tag` is the portal group tag.
    pub(crate) fn request(
        &mut self,
        header: &LoginRequest,
        data: &[u8],
        settings: &Settings,
        target: &str,
        tag: u16,
        entropy: &mut Entropy,
    ) -> Result<Step, Refusal> {
        let (transit, goes_on) = (header.flags & 0x80 != 0, header.flags & 0x40 != 0);
        let (current, next) = (header.flags >> 2 & 3, header.flags & 3);
        self.check_header(header)?;
        if transit && (goes_on || next <= current || next == 2) {
            return Err(Refusal::InitiatorError("the request asks for a stage that cannot follow"));
        }
        if self.partial.len() + data.len() > TEXT_MAX {
            return Err(TextError::TooLong.into());
        }
        self.partial.extend_from_slice(data);
        if goes_on {
            return Ok(Step { text: Vec::new(), flags: current << 2, done: false });
        }
        let text = std::mem::take(&mut self.partial);
        let pairs = text::pairs(&text)?;
        let mut answer = Vec::new();
        self.introduce(&pairs, settings, target, tag, &mut answer)?;
        let mut chap = ChapKeys::default();
        for &(key, value) in &pairs {
            self.remember(key)?;
            self.hear(key, value, settings, &mut chap, &mut answer)?;
        }
        self.authenticate(&chap, settings, entropy, &mut answer)?;
        if self.stage == OPERATIONAL && !self.may_pass(settings) {
            return Err(Refusal::Authentication("the initiator passes the security stage over"));
        }
        if self.stage == OPERATIONAL && !self.declared {
            self.declared = true;
            let length = settings.wishes.max_receive.to_string();
            text::put(&mut answer, "MaxRecvDataSegmentLength", &length);
        }
        self.step(transit, next, settings, answer)
    }

    fn check_header(&mut self, header: &LoginRequest) -> Result<(), Refusal> {
        let current = header.flags >> 2 & 3;
        if header.version_min > 0 {
            return Err(Refusal::Version);
        }
        self.steps += 1;
        if self.steps > STEPS_MAX {
            return Err(Refusal::InitiatorError("the login does not come to an end"));
        }
        match &self.first {
            None => {
                if current > OPERATIONAL {
                    return Err(Refusal::InitiatorError("a login cannot begin in that stage"));
                }
                self.stage = current;
                self.first = Some(*header);
            }
            Some(first) => {
                let same = |h: &LoginRequest| (h.isid, h.tsih, h.cid, h.initiator_task_tag);
                if same(first) != same(header) {
                    return Err(Refusal::InitiatorError("ISID, TSIH, CID or tag have changed"));
                }
                if current != self.stage {
                    return Err(Refusal::InitiatorError("the request is of another stage"));
                }
            }
        }
        Ok(())
    }

    /// What the first request must say: who wants what.
    fn introduce(
        &mut self,
        pairs: &[(&str, &str)],
        settings: &Settings,
        target: &str,
        tag: u16,
        answer: &mut Vec<u8>,
    ) -> Result<(), Refusal> {
        if std::mem::replace(&mut self.introduced, true) {
            return Ok(());
        }
        let value = |wanted: &str| pairs.iter().find(|(key, _)| *key == wanted).map(|pair| pair.1);
        let name = value("InitiatorName").ok_or(Refusal::MissingParameter("InitiatorName"))?;
        if !text::is_name(name) {
            return Err(Refusal::InitiatorError("the InitiatorName is no iSCSI name"));
        }
        self.initiator = Some(name.to_owned());
        self.discovery = match value("SessionType") {
            None | Some("Normal") => false,
            Some("Discovery") => true,
            Some(_) => return Err(Refusal::SessionType),
        };
        if !self.discovery {
            let wanted = value("TargetName").ok_or(Refusal::MissingParameter("TargetName"))?;
            if !wanted.eq_ignore_ascii_case(target) {
                let shown: String = wanted.chars().take(223).collect();
                return Err(Refusal::NotFound(shown));
            }
            self.target = Some(wanted.to_owned());
            if !settings.alias.is_empty() {
                text::put(answer, "TargetAlias", &settings.alias);
            }
            text::put(answer, "TargetPortalGroupTag", &tag.to_string());
        }
        Ok(())
    }

    fn remember(&mut self, key: &str) -> Result<(), Refusal> {
        if self.seen.iter().any(|seen| seen == key) {
            return Err(Refusal::InitiatorError("a key is negotiated twice"));
        }
        if self.seen.len() == KEYS_MAX {
            return Err(Refusal::InitiatorError("too many keys"));
        }
        self.seen.push(key.to_owned());
        Ok(())
    }

    fn hear<'a>(
        &mut self,
        key: &str,
        value: &'a str,
        settings: &Settings,
        chap: &mut ChapKeys<'a>,
        answer: &mut Vec<u8>,
    ) -> Result<(), Refusal> {
        let slot = match key {
            "InitiatorName" | "SessionType" | "TargetName" | "InitiatorAlias" => return Ok(()),
            "AuthMethod" => return self.choose_method(value, settings, answer),
            "CHAP_A" => &mut chap.algorithms,
            "CHAP_N" => &mut chap.name,
            "CHAP_R" => &mut chap.response,
            "CHAP_I" => &mut chap.identifier,
            "CHAP_C" => &mut chap.challenge,
            _ => {
                let wishes = &settings.wishes;
                match self.parameters.hear(key, value, wishes, self.discovery) {
                    Said::Nothing => {}
                    Said::Value(value) => text::put(answer, key, &value),
                    Said::Unknown => text::put(answer, key, "NotUnderstood"),
                }
                return Ok(());
            }
        };
        if self.stage != SECURITY {
            return Err(Refusal::InitiatorError("CHAP belongs to the security stage"));
        }
        *slot = Some(value);
        Ok(())
    }

    const fn must_authenticate(&self, settings: &Settings) -> bool {
        let authentication = &settings.authentication;
        !authentication.accounts.is_empty() && (!self.discovery || authentication.discovery)
    }

    const fn may_pass(&self, settings: &Settings) -> bool {
        matches!(self.chap, Chap::Passed) || !self.must_authenticate(settings)
    }

    fn choose_method(
        &mut self,
        value: &str,
        settings: &Settings,
        answer: &mut Vec<u8>,
    ) -> Result<(), Refusal> {
        if self.stage != SECURITY {
            return Err(Refusal::InitiatorError("AuthMethod belongs to the security stage"));
        }
        let offered = |method: &str| value.split(',').any(|one| one == method);
        let chosen = if self.must_authenticate(settings) {
            if !offered("CHAP") {
                return Err(Refusal::Authentication("the target wants CHAP"));
            }
            self.chap = Chap::Chosen;
            "CHAP"
        } else {
            if !offered("None") {
                return Err(Refusal::Authentication("the target has no secret of this initiator"));
            }
            self.chap = Chap::NotNeeded;
            "None"
        };
        text::put(answer, "AuthMethod", chosen);
        Ok(())
    }

    /// The step of CHAP that the request asks for.
    fn authenticate(
        &mut self,
        keys: &ChapKeys<'_>,
        settings: &Settings,
        entropy: &mut Entropy,
        answer: &mut Vec<u8>,
    ) -> Result<(), Refusal> {
        if let Some(offered) = keys.algorithms {
            if !matches!(self.chap, Chap::Chosen) {
                return Err(Refusal::Authentication("CHAP_A without AuthMethod=CHAP"));
            }
            let known = &settings.authentication.algorithms;
            let chosen = offered
                .split(',')
                .filter_map(|one| text::number(one).and_then(Algorithm::of))
                .find(|one| known.contains(one))
                .ok_or(Refusal::Authentication("no hash in common"))?;
            let mut random = [0; chap::CHALLENGE + 1];
            entropy(&mut random);
            let [identifier, challenge @ ..] = random;
            text::put(answer, "CHAP_A", &chosen.number().to_string());
            text::put(answer, "CHAP_I", &identifier.to_string());
            text::put(answer, "CHAP_C", &chap::to_hex(&challenge));
            let challenge = challenge.to_vec();
            self.chap = Chap::Challenged { algorithm: chosen, identifier, challenge };
            return Ok(());
        }
        if keys.name.is_none() && keys.response.is_none() {
            return Ok(());
        }
        let Chap::Challenged { algorithm, identifier, challenge } = std::mem::take(&mut self.chap)
        else {
            return Err(Refusal::Authentication("a response without a challenge"));
        };
        let (Some(name), Some(response)) = (keys.name, keys.response) else {
            return Err(Refusal::Authentication("CHAP_N or CHAP_R is missing"));
        };
        let response = chap::binary(response)
            .ok_or(Refusal::Authentication("CHAP_R is neither hex nor base64"))?;
        let account = self
            .account(settings, name)
            .ok_or(Refusal::Authentication("the name or the secret is wrong"))?;
        let wanted = algorithm.response(identifier, &account.incoming.secret, &challenge);
        if !chap::same(&wanted, &response) {
            return Err(Refusal::Authentication("the name or the secret is wrong"));
        }
        if keys.identifier.is_some() || keys.challenge.is_some() {
            prove(account, algorithm, keys, &challenge, answer)?;
        }
        self.authenticated = Some(name.to_owned());
        self.chap = Chap::Passed;
        Ok(())
    }

    fn account<'a>(&self, settings: &'a Settings, name: &str) -> Option<&'a Account> {
        let own = |account: &&Account| {
            let initiator = account.initiator.as_deref();
            account.incoming.name == name
                && initiator.is_none_or(|wanted| Some(wanted) == self.initiator.as_deref())
        };
        settings.authentication.accounts.iter().find(own)
    }

    fn step(
        &mut self,
        transit: bool,
        next: u8,
        settings: &Settings,
        answer: Vec<u8>,
    ) -> Result<Step, Refusal> {
        let current = self.stage << 2;
        if !transit {
            return Ok(Step { text: answer, flags: current, done: false });
        }
        if !self.may_pass(settings) {
            // CHAP is on its way: the stage goes on. Where it was not even begun, it never will be.
            return match self.chap {
                Chap::NotBegun | Chap::NotNeeded => {
                    Err(Refusal::Authentication("the initiator does not offer CHAP"))
                }
                _ => Ok(Step { text: answer, flags: current, done: false }),
            };
        }
        self.stage = next;
        let done = next == FULL_FEATURE;
        if done {
            self.parameters.settle();
        }
        Ok(Step { text: answer, flags: 0x80 | current | next, done })
    }
}

/// Answers the initiator's own challenge.
fn prove(
    account: &Account,
    algorithm: Algorithm,
    keys: &ChapKeys<'_>,
    own_challenge: &[u8],
    answer: &mut Vec<u8>,
) -> Result<(), Refusal> {
    let wrong = Refusal::Authentication;
    let outgoing =
        account.outgoing.as_ref().ok_or(wrong("the target has no secret to prove itself by"))?;
    let identifier = keys
        .identifier
        .and_then(text::number)
        .and_then(|value| u8::try_from(value).ok())
        .ok_or(wrong("CHAP_I is no number of one byte"))?;
    let challenge = keys
        .challenge
        .and_then(chap::binary)
        .filter(|challenge| !challenge.is_empty())
        .ok_or(wrong("CHAP_C is missing or no binary value"))?;
    if challenge == own_challenge {
        return Err(wrong("the initiator sends the target's challenge back"));
    }
    if outgoing.secret == account.incoming.secret {
        return Err(wrong("the same secret is set for both directions"));
    }
    let response = algorithm.response(identifier, &outgoing.secret, &challenge);
    text::put(answer, "CHAP_N", &outgoing.name);
    text::put(answer, "CHAP_R", &chap::to_hex(&response));
    Ok(())
}
