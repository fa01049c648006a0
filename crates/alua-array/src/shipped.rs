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
