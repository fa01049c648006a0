//! INQUIRY: standard data and the vital product data pages.

use super::{Answer, Call, Failure, number};
use crate::array::Array;
use crate::commands::block::{GRANULARITY_BYTES, MAX_TRANSFER_BYTES};
use crate::task::MAX_CDB;

/// The version descriptors: SAM-5, SPC-4, SBC-3.
const VERSION_DESCRIPTORS: [u16; 3] = [0x00a0, 0x0460, 0x04c0];

/// Standard data for a logical unit number with nothing behind it: peripheral qualifier 3, device
/// type 1Fh.
pub(super) fn nowhere(cdb: &[u8; MAX_CDB], out: &mut Vec<u8>) -> Answer {
    if cdb[1] & 1 != 0 || cdb[2] != 0 {
        return Err(Failure::cdb(2));
    }
    out.resize(36, 0);
    out[0] = 0x7f;
    out[2] = 6;
    out[3] = 2;
    out[4] = 31;
    out[8..36].fill(b' ');
    out.truncate(number(cdb, 3, 2) as usize);
    Ok(())
}

impl Array {
    pub(super) fn inquiry(&self, call: &Call<'_>, out: &mut Vec<u8>) -> Answer {
        let (vital, page) = (call.cdb[1] & 1 != 0, call.cdb[2]);
        if vital {
            self.vital_page(call, page, out)?;
        } else if page == 0 {
            self.standard(out);
        } else {
            return Err(Failure::cdb(2));
        }
        out.truncate(number(call.cdb, 3, 2) as usize);
        Ok(())
    }

    fn standard(&self, out: &mut Vec<u8>) {
        let array = &self.config.array;
        out.resize(96, 0);
        out[0] = array.device_type;
        out[2] = 6;
        // HISUP, response data format 2.
        out[3] = 0x12;
        out[4] = 91;
        out[5] = self.alua.tpgs.bits() << 4;
        // MULTIP, CMDQUE.
        out[6] = 0x10;
        out[7] = 0x02;
        out[8..36].fill(b' ');
        for (from, text) in [(8, &array.vendor), (16, &array.product), (32, &array.revision)] {
            out[from..from + text.len()].copy_from_slice(text.as_bytes());
        }
        for (at, descriptor) in VERSION_DESCRIPTORS.iter().enumerate() {
            out[58 + 2 * at..60 + 2 * at].copy_from_slice(&descriptor.to_be_bytes());
        }
    }

    fn vital_page(&self, call: &Call<'_>, page: u8, out: &mut Vec<u8>) -> Answer {
        out.extend_from_slice(&[self.config.array.device_type, page, 0, 0]);
        let unit = &self.units[call.unit];
        match page {
            0x00 => out.extend(self.vital_pages(call)),
            0x80 => out.extend_from_slice(unit.serial.as_bytes()),
            0x83 => self.identification(call, out),
            0x86 => {
                // Extended INQUIRY data: UASK_SUP and SIMPSUP; V_SUP where the cache is volatile.
                let mut data = [0; 60];
                data[1] = 0x21;
                data[2] = u8::from(unit.medium.volatile);
                out.extend_from_slice(&data);
            }
            0xb0 if self.is_disk() => self.block_limits(call, out),
            0xb1 if self.is_disk() => {
                // Block device characteristics: not rotating.
                let mut data = [0; 60];
                data[1] = 1;
                out.extend_from_slice(&data);
            }
            // Logical block provisioning: LBPU, LBPWS, LBPWS10, LBPRZ; thin.
            0xb2 if self.is_disk() => out.extend_from_slice(&[0, 0xe4, 2, 0]),
            0xb3 if self.is_disk() && !unit.segments.is_empty() => {
                // Referrals: every segment is named, so size and multiplier are 0.
                out.extend_from_slice(&[0; 12]);
            }
            _ => return Err(Failure::cdb(2)),
        }
        let length = (out.len() - 4) as u16;
        out[2..4].copy_from_slice(&length.to_be_bytes());
        Ok(())
    }

    fn vital_pages(&self, call: &Call<'_>) -> impl Iterator<Item = u8> + use<> {
        let disk = self.is_disk();
        let segments = !self.units[call.unit].segments.is_empty();
        [0x00, 0x80, 0x83, 0x86, 0xb0, 0xb1, 0xb2, 0xb3]
            .into_iter()
            .filter(move |&page| page < 0xb0 || (disk && (page != 0xb3 || segments)))
    }

    const fn is_disk(&self) -> bool {
        self.config.array.device_type == 0
    }

    /// Page 83h: the unit's designators, then those of the port that the command came through.
    fn identification(&self, call: &Call<'_>, out: &mut Vec<u8>) {
        const BINARY: u8 = 1;
        const ASCII: u8 = 2;
        const UTF8: u8 = 3;
        const UNIT: u8 = 0x00;
        // PIV and association 1, for a protocol that says which: iSCSI, 5h.
        const PORT: u8 = 0x90;
        let iscsi = |code_set: u8| 0x50 | code_set;
        let unit = &self.units[call.unit];
        let array = &self.config.array;
        let mut push = |protocol_and_code_set, association_and_type, id: &[u8]| {
            out.extend_from_slice(&[
                protocol_and_code_set,
                association_and_type,
                0,
                id.len() as u8,
            ]);
            out.extend_from_slice(id);
        };
        if self.alua.unit_designator {
            if let Some(naa) = &unit.naa {
                push(BINARY, UNIT | 3, naa);
            }
            if let Some(eui) = &unit.eui {
                push(BINARY, UNIT | 2, eui);
            }
            if let Some(name) = &unit.scsi_name {
                push(UTF8, UNIT | 8, &padded(name));
            }
            let vendor = format!("{:<8}{}", array.vendor, unit.serial);
            push(ASCII, UNIT | 1, vendor.as_bytes());
        }
        let port = &self.ports[call.port];
        if self.alua.port_designator {
            let [high, low] = port.id.to_be_bytes();
            push(iscsi(BINARY), PORT | 4, &[0, 0, high, low]);
        }
        if self.alua.group_designator {
            let [high, low] = self.groups[port.group].id.to_be_bytes();
            push(iscsi(BINARY), PORT | 5, &[0, 0, high, low]);
        }
        let name = format!("{},t,0x{:04x}", self.target_name(), port.id);
        push(iscsi(UTF8), PORT | 8, &padded(&name));
    }

    /// The array's iSCSI name: the array's own name with everything else than letters, digits and
    /// hyphens replaced.
    #[must_use]
    pub fn target_name(&self) -> String {
        let own = |c: char| if c.is_ascii_alphanumeric() { c.to_ascii_lowercase() } else { '-' };
        let name: String = self.config.array.name.chars().map(own).collect();
        format!("iqn.2026-03.invalid.alua:{name}")
    }

    fn block_limits(&self, call: &Call<'_>, out: &mut Vec<u8>) {
        let size = self.units[call.unit].medium.block_size();
        let most = (MAX_TRANSFER_BYTES / size) as u32;
        let granularity = (GRANULARITY_BYTES / size) as u32;
        let mut data = [0; 60];
        // WSNZ; maximum COMPARE AND WRITE length 255.
        data[0] = 1;
        data[1] = 255;
        data[2..4].copy_from_slice(&(granularity as u16).to_be_bytes());
        data[4..8].copy_from_slice(&most.to_be_bytes());
        data[8..12].copy_from_slice(&most.to_be_bytes());
        // Maximum UNMAP LBA count and descriptors.
        data[16..20].copy_from_slice(&u32::MAX.to_be_bytes());
        data[20..24].copy_from_slice(&super::block::MAX_UNMAP_DESCRIPTORS.to_be_bytes());
        data[24..28].copy_from_slice(&granularity.to_be_bytes());
        data[32..40].copy_from_slice(&u64::from(most).to_be_bytes());
        out.extend_from_slice(&data);
    }
}

/// A SCSI name string: NUL-terminated and padded to a multiple of four bytes.
fn padded(name: &str) -> Vec<u8> {
    let mut bytes = name.as_bytes().to_vec();
    bytes.resize((bytes.len() / 4 + 1) * 4, 0);
    bytes
}
