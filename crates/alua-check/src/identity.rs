//! Who the unit is and whether it takes part: INQUIRY and page 83h on each path.

use alua_core::access::Tpgs;
use alua_core::spc::designator::{Association, DesignatorKind, DeviceIdentification};

use crate::bench::Bench;
use crate::{Check, Needs, Skipped};

pub(crate) const CHECKS: &[Check] = &[
    Check {
        id: "tpgs-same",
        rule: "TPGS is the same through every path",
        source: "SPC, standard INQUIRY data: TPGS describes the logical unit",
        needs: Needs::Reading,
        run: tpgs_same,
    },
    Check {
        id: "tpgs-with-groups",
        rule: "where page 83h names a target port group, TPGS is not 0",
        source: "SPC, standard INQUIRY data, TPGS 00b: no asymmetric access, or one only outside \
                 the standard",
        needs: Needs::Reading,
        run: tpgs_with_groups,
    },
    Check {
        id: "unit-name",
        rule: "page 83h names the logical unit by NAA, EUI-64, SCSI name or UUID",
        source: "SPC, Device Identification VPD page: at least one designator of the logical unit",
        needs: Needs::Reading,
        run: unit_name,
    },
    Check {
        id: "same-unit",
        rule: "every path names the same logical unit",
        source: "SPC, Device Identification VPD page: logical unit designators do not depend on \
                 the port",
        needs: Needs::Reading,
        run: same_unit,
    },
    Check {
        id: "port-designators",
        rule: "page 83h names one target port group and one relative target port of the path",
        source: "SPC, Device Identification VPD page: target port group and relative target port \
                 designators, required with asymmetric access",
        needs: Needs::Reading,
        run: port_designators,
    },
];

/// That the unit takes part in ALUA, for the checks that only then make sense.
pub(crate) fn takes_part(bench: &mut Bench<'_>) -> Result<Tpgs, Skipped> {
    match bench.inquiry(0)?.tpgs {
        Tpgs::None => Err("TPGS is 0: the unit takes no part in ALUA".to_owned()),
        tpgs => Ok(tpgs),
    }
}

fn tpgs_same(bench: &mut Bench<'_>) -> Result<(), Skipped> {
    let first = bench.inquiry(0)?.tpgs;
    for path in bench.paths() {
        let own = bench.inquiry(path)?.tpgs;
        if own != first {
            let got = format!("TPGS {}", own.name());
            let cdb = [0x12, 0, 0, 0, 96, 0];
            bench.find(path, &cdb, &got, &format!("TPGS {} as through the first", first.name()));
        }
    }
    Ok(())
}

fn tpgs_with_groups(bench: &mut Bench<'_>) -> Result<(), Skipped> {
    for path in bench.paths() {
        let tpgs = bench.inquiry(path)?.tpgs;
        let group = bench.identity(path)?.group;
        if let (Tpgs::None, Some(group)) = (tpgs, group) {
            let got = format!("TPGS 0, and page 83h names target port group {group}");
            bench.find(
                path,
                &[0x12, 0, 0, 0, 96, 0],
                &got,
                "TPGS 1, 2 or 3, or no such designator",
            );
        }
    }
    Ok(())
}

fn unit_name(bench: &mut Bench<'_>) -> Result<(), Skipped> {
    for path in bench.paths() {
        let (cdb, answer) = bench.page_83(path);
        match DeviceIdentification::new(&answer.data) {
            Ok(page) => {
                let named = page.iter().any(|designator| {
                    designator.association == Association::LogicalUnit
                        && matches!(
                            designator.kind,
                            DesignatorKind::Naa
                                | DesignatorKind::Eui64
                                | DesignatorKind::ScsiName
                                | DesignatorKind::Uuid
                        )
                });
                bench.want(named, path, &cdb, &answer, "a designator of the logical unit");
            }
            Err(error) => bench.find(path, &cdb, &error.to_string(), "a page 83h that is whole"),
        }
    }
    Ok(())
}

fn same_unit(bench: &mut Bench<'_>) -> Result<(), Skipped> {
    if bench.paths().len() < 2 {
        return Err("it takes two paths".to_owned());
    }
    let Some(first) = bench.identity(0)?.name else {
        return Err("the first path does not name its unit: see unit-name".to_owned());
    };
    for path in bench.paths() {
        let (cdb, _) = bench.page_83(path);
        let own = bench.identity(path)?.name;
        if own != Some(first) {
            let got = own.map_or_else(|| "no name".to_owned(), |name| name.to_string());
            bench.find(path, &cdb, &got, &format!("{first}, as through the first path"));
        }
    }
    Ok(())
}

fn port_designators(bench: &mut Bench<'_>) -> Result<(), Skipped> {
    takes_part(bench)?;
    for path in bench.paths() {
        let (cdb, answer) = bench.page_83(path);
        let Ok(page) = DeviceIdentification::new(&answer.data) else {
            bench.find(path, &cdb, &answer.text, "a page 83h that is whole");
            continue;
        };
        let count = |kind: DesignatorKind| {
            let own = |d: &alua_core::spc::designator::Designator<'_>| {
                d.association == Association::TargetPort && d.kind == kind
            };
            page.iter().filter(own).count()
        };
        for (kind, name) in [
            (DesignatorKind::TargetPortGroup, "target port group"),
            (DesignatorKind::RelativeTargetPort, "relative target port"),
        ] {
            let found = count(kind);
            if found != 1 {
                let got = format!("{found} {name} designators with the association target port");
                bench.find(path, &cdb, &got, "one");
            }
        }
    }
    Ok(())
}
