//! The array files that come with the crate.

use crate::array::Array;
use crate::config::Config;

/// An array file that comes with the crate.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Shipped {
    /// The name by which it is asked for: the file's name without `.toml`.
    pub name: &'static str,
    /// What it is, in one line.
    pub title: &'static str,
    /// The file.
    pub text: &'static str,
}

macro_rules! shipped {
    ($($constant:ident $name:literal $title:literal;)*) => {
        $(
            #[doc = concat!($title, ".")]
            pub const $constant: Shipped = Shipped {
                name: $name,
                title: $title,
                text: include_str!(concat!("../arrays/", $name, ".toml")),
            };
        )*

        /// Every file, the demo array first.
        pub const ALL: &[Shipped] = &[$($constant),*];
    };
}

shipped! {
    DEMO "demo" "Two controllers, one optimized per unit, implicit and explicit";
    SYMMETRIC "symmetric" "Two controllers, every path optimized, implicit";
    SINGLE_STATE "single-state" "Active/optimized is the only state that there is";
    FOUR_GROUPS "four-groups" "Two controllers with two groups each, one unit LBA-dependent";
    METRO "metro" "Four controllers at two sites that lose sight of each other";
    LARGE "large" "4096 units with eight paths each in two groups, for figures";
    REFUSED_HEADER "misbehaving/refused-header" "Refuses the extended header with an odd code";
    MUTE_TRANSITION "misbehaving/mute-transition" "Refuses RTPG itself in transition";
    NO_LIVE_PATH "misbehaving/no-live-path" "One half transitions, the other is unavailable";
    ENDLESS_TRANSITION "misbehaving/endless-transition" "A transition that does not end by itself";
    HALF_WAY "misbehaving/half-way" "STPG and implicit transitions fail half-way";
    LIAR "misbehaving/liar" "RTPG data that are short, growing, endless, wrong";
    STALE "misbehaving/stale" "RTPG tells states that are no longer true";
    TPGS_ZERO "misbehaving/tpgs-zero" "TPGS 0 with target port groups in page 83h";
    NO_DESIGNATORS "misbehaving/no-designators" "Page 83h names neither the unit nor the group";
    FORGETFUL "misbehaving/forgetful" "A reset brings back the states of the start";
    SWAPPED "misbehaving/swapped" "A logical unit number comes to lead to another unit";
    GHOSTS "misbehaving/ghosts" "Ghost writes, hanging commands, late answers, ignored aborts";
}

impl Shipped {
    /// The file with that name.
    #[must_use]
    pub fn by_name(name: &str) -> Option<Self> {
        ALL.iter().copied().find(|shipped| shipped.name == name)
    }

    /// The configuration.
    ///
    /// # Panics
    ///
    /// Never: a test reads every file.
    #[must_use]
    pub fn config(&self) -> Config {
        let file = format!("{}.toml", self.name);
        Config::from_toml(&file, self.text).unwrap_or_else(|error| panic!("{error}"))
    }

    /// The array.
    ///
    /// # Panics
    ///
    /// Never: a test builds every one.
    #[must_use]
    pub fn build(&self) -> Array {
        Array::new(self.config()).unwrap_or_else(|error| panic!("{error}"))
    }
}
