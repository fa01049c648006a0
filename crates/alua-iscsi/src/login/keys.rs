//! The operational keys (RFC 7143, section 13): what each side says and what comes of it.

use crate::pdu::Digests;
use crate::text::number;

/// What a session and its connection agreed on.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Parameters {
    /// HeaderDigest, DataDigest.
    pub digests: Digests,
    /// The initiator's MaxRecvDataSegmentLength: the most bytes of a data segment that we send.
    pub max_send: u32,
    /// MaxBurstLength: bytes of one sequence of Data-In or solicited Data-Out.
    pub max_burst: u32,
    /// FirstBurstLength: bytes of unsolicited data, immediate data included.
    pub first_burst: u32,
    /// InitialR2T: unsolicited Data-Out PDUs are not allowed.
    pub initial_r2t: bool,
    /// ImmediateData: data may come with the command.
    pub immediate_data: bool,
    /// DefaultTime2Wait, seconds.
    pub time_to_wait: u16,
    /// DefaultTime2Retain, seconds.
    pub time_to_retain: u16,
}

impl Default for Parameters {
    /// The defaults of the RFC.
    fn default() -> Self {
        Self {
            digests: Digests { header: false, data: false },
            max_send: 8192,
            max_burst: 262_144,
            first_burst: 65_536,
            initial_r2t: true,
            immediate_data: true,
            time_to_wait: 2,
            time_to_retain: 20,
        }
    }
}

/// What this side wants.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Wishes {
    /// MaxRecvDataSegmentLength that we declare, bytes.
    pub max_receive: u32,
    /// MaxBurstLength at most, bytes.
    pub max_burst: u32,
    /// FirstBurstLength at most, bytes.
    pub first_burst: u32,
    /// InitialR2T: whether we insist on R2T for all data.
    pub initial_r2t: bool,
    /// ImmediateData: whether we take it.
    pub immediate_data: bool,
    /// DefaultTime2Wait at least, seconds.
    pub time_to_wait: u16,
    /// DefaultTime2Retain at most, seconds.
    pub time_to_retain: u16,
    /// Whether digests are agreed to.
    pub digests: bool,
}

impl Default for Wishes {
    fn default() -> Self {
        Self {
            max_receive: 256 << 10,
            max_burst: 1 << 20,
            first_burst: 256 << 10,
            initial_r2t: false,
            immediate_data: true,
            time_to_wait: 2,
            time_to_retain: 20,
            digests: true,
        }
    }
}

/// The answer to one key.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum Said {
    /// A declaration: no answer.
    Nothing,
    /// This value.
    Value(String),
    /// The key is not an operational one.
    Unknown,
}

const YES: &str = "Yes";
const NO: &str = "No";
/// The values of RFC 7143, section 6.2: not admissible; no meaning here.
const REJECT: &str = "Reject";
const IRRELEVANT: &str = "Irrelevant";

impl Parameters {
    /// Takes what the initiator says of an operational key, and says what comes of it. `discovery`:
    /// in a discovery session, where keys about data have no meaning.
    pub(crate) fn hear(
        &mut self,
        key: &str,
        value: &str,
        wishes: &Wishes,
        discovery: bool,
    ) -> Said {
        if discovery && FOR_DATA.contains(&key) {
            return Said::Value(IRRELEVANT.to_owned());
        }
        let said = match key {
            "HeaderDigest" => digest(&mut self.digests.header, value, wishes),
            "DataDigest" => digest(&mut self.digests.data, value, wishes),
            "MaxRecvDataSegmentLength" => {
                return match ranged(value, 512, 0xff_ffff) {
                    Some(length) => {
                        self.max_send = length;
                        Said::Nothing
                    }
                    None => Said::Value(REJECT.to_owned()),
                };
            }
            "MaxBurstLength" => least(&mut self.max_burst, value, wishes.max_burst),
            "FirstBurstLength" => {
                let most = wishes.first_burst.min(wishes.max_burst);
                least(&mut self.first_burst, value, most)
            }
            "InitialR2T" => {
                boolean(value, |theirs| set(&mut self.initial_r2t, theirs || wishes.initial_r2t))
            }
            "ImmediateData" => boolean(value, |theirs| {
                set(&mut self.immediate_data, theirs && wishes.immediate_data)
            }),
            "DefaultTime2Wait" => ranged(value, 0, 3600).map(|theirs| {
                self.time_to_wait = (theirs as u16).max(wishes.time_to_wait);
                self.time_to_wait.to_string()
            }),
            "DefaultTime2Retain" => ranged(value, 0, 3600).map(|theirs| {
                self.time_to_retain = (theirs as u16).min(wishes.time_to_retain);
                self.time_to_retain.to_string()
            }),
            // One connection, one R2T, no recovery within a session: the least of each range.
            "MaxConnections" | "MaxOutstandingR2T" => {
                ranged(value, 1, 65_535).map(|_| "1".to_owned())
            }
            "ErrorRecoveryLevel" => ranged(value, 0, 2).map(|_| "0".to_owned()),
            // The result is "Yes" when one side says so, and we do.
            "DataPDUInOrder" | "DataSequenceInOrder" => boolean(value, |_| YES.to_owned()),
            // Markers are gone since RFC 7143.
            "OFMarker" | "IFMarker" => boolean(value, |_| NO.to_owned()),
            "OFMarkInt" | "IFMarkInt" => Some(IRRELEVANT.to_owned()),
            "TaskReporting" => {
                value.split(',').any(|one| one == "RFC3720").then(|| "RFC3720".to_owned())
            }
            "iSCSIProtocolLevel" => ranged(value, 0, 31).map(|theirs| theirs.min(1).to_string()),
            _ => return Said::Unknown,
        };
        Said::Value(said.unwrap_or_else(|| REJECT.to_owned()))
    }

    /// Puts what depends on each other in order when the negotiation has ended.
    pub(crate) fn settle(&mut self) {
        self.first_burst = self.first_burst.min(self.max_burst);
    }
}

/// Keys with no meaning in a discovery session (RFC 7143, section 13).
const FOR_DATA: [&str; 10] = [
    "MaxBurstLength",
    "FirstBurstLength",
    "InitialR2T",
    "ImmediateData",
    "MaxOutstandingR2T",
    "DataPDUInOrder",
    "DataSequenceInOrder",
    "MaxConnections",
    "TaskReporting",
    "iSCSIProtocolLevel",
];

fn digest(on: &mut bool, value: &str, wishes: &Wishes) -> Option<String> {
    let chosen =
        value.split(',').find(|&one| one == "None" || (wishes.digests && one == "CRC32C"))?;
    *on = chosen == "CRC32C";
    Some(chosen.to_owned())
}

fn least(field: &mut u32, value: &str, most: u32) -> Option<String> {
    let theirs = ranged(value, 512, 0xff_ffff)?;
    *field = theirs.min(most);
    Some(field.to_string())
}

fn ranged(value: &str, least: u32, most: u32) -> Option<u32> {
    number(value).filter(|value| (least..=most).contains(value))
}

fn boolean(value: &str, answer: impl FnOnce(bool) -> String) -> Option<String> {
    match value {
        YES => Some(answer(true)),
        NO => Some(answer(false)),
        _ => None,
    }
}

fn set(field: &mut bool, value: bool) -> String {
    *field = value;
    if value { YES } else { NO }.to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hear(parameters: &mut Parameters, key: &str, value: &str) -> Said {
        parameters.hear(key, value, &Wishes::default(), false)
    }

    #[test]
    fn each_key_has_its_result_function() {
        let cases = [
            ("HeaderDigest", "CRC32C,None", "CRC32C"),
            ("DataDigest", "X,None,CRC32C", "None"),
            ("DataDigest", "X", "Reject"),
            ("MaxBurstLength", "262144", "262144"),
            ("MaxBurstLength", "16776192", "1048576"),
            ("MaxBurstLength", "511", "Reject"),
            ("FirstBurstLength", "65536", "65536"),
            ("FirstBurstLength", "1048576", "262144"),
            ("InitialR2T", "No", "No"),
            ("InitialR2T", "Yes", "Yes"),
            ("InitialR2T", "Maybe", "Reject"),
            ("ImmediateData", "Yes", "Yes"),
            ("ImmediateData", "No", "No"),
            ("DefaultTime2Wait", "0", "2"),
            ("DefaultTime2Wait", "5", "5"),
            ("DefaultTime2Retain", "0", "0"),
            ("DefaultTime2Retain", "60", "20"),
            ("MaxConnections", "8", "1"),
            ("MaxOutstandingR2T", "16", "1"),
            ("MaxOutstandingR2T", "0", "Reject"),
            ("ErrorRecoveryLevel", "2", "0"),
            ("DataPDUInOrder", "No", "Yes"),
            ("DataSequenceInOrder", "Yes", "Yes"),
            ("OFMarker", "Yes", "No"),
            ("IFMarkInt", "2048~65535", "Irrelevant"),
            ("TaskReporting", "ResponseFence,RFC3720", "RFC3720"),
            ("iSCSIProtocolLevel", "2", "1"),
        ];
        let mut parameters = Parameters::default();
        for (key, value, wanted) in cases {
            let said = hear(&mut parameters, key, value);
            assert_eq!(said, Said::Value(wanted.to_owned()), "{key}={value}");
        }
        assert_eq!(hear(&mut parameters, "X-com.example", "1"), Said::Unknown);
        assert_eq!(hear(&mut parameters, "MaxRecvDataSegmentLength", "65536"), Said::Nothing);
        assert_eq!(parameters.max_send, 65_536);
        assert!(parameters.digests.header && !parameters.digests.data);
    }

    #[test]
    fn a_first_burst_is_no_longer_than_a_burst() {
        let mut parameters = Parameters::default();
        hear(&mut parameters, "MaxBurstLength", "4096");
        parameters.settle();
        assert_eq!(parameters.first_burst, 4096);
    }

    #[test]
    fn keys_about_data_have_no_meaning_in_discovery() {
        let mut parameters = Parameters::default();
        let said = parameters.hear("MaxBurstLength", "4096", &Wishes::default(), true);
        assert_eq!(said, Said::Value("Irrelevant".to_owned()));
        assert_eq!(parameters.max_burst, 262_144);
    }
}
