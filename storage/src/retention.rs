//! Which files are removed, and when.
//!
//! [`decide`] is the rule and does no I/O: age in the hours set for it, disk use, or an operator's request. The rest
//! carries it out: oldest commit-log file first, never the last one, then what points to it from queues and index.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use jiff::Timestamp;
use jiff::tz::TimeZone;

use crate::config::RetentionConfig;
use crate::error::Unwritable;
use crate::fs::{FileSystem, Space};
use std::path::Path;

/// What one look decides.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cleaning {
    /// Nothing goes.
    None,
    /// Files past their age go.
    Expired,
    /// The oldest files go whatever their age.
    Forced,
}

/// Decides from the clock, the use of the disk in percent, and whether an operator asked.
pub fn decide(config: &RetentionConfig, hour: u8, used_percent: u8, asked: bool) -> Cleaning {
    if config.force_clean && used_percent > config.force_clean_percent.min(config.refuse_percent) {
        Cleaning::Forced
    } else if asked || config.delete_hours.contains(&hour) || used_percent > config.max_used_percent {
        Cleaning::Expired
    } else {
        Cleaning::None
    }
}

/// Hour of the local day, 0 to 23, at a time in milliseconds since the Unix epoch.
pub fn local_hour(now_ms: i64) -> u8 {
    let hour = Timestamp::from_millisecond(now_ms).map(|now| now.to_zoned(TimeZone::system()).hour());
    hour.ok().and_then(|hour| u8::try_from(hour).ok()).unwrap_or(0)
}

/// Whether a file last written at `modified` has reached its age.
pub(crate) fn expired(modified: Option<SystemTime>, reserved: Duration, now_ms: i64) -> bool {
    let Some(modified) = modified else { return false };
    let written_ms = modified.duration_since(UNIX_EPOCH).map_or(0, |since| since.as_millis());
    let age = u128::try_from(now_ms).unwrap_or(0).saturating_sub(written_ms);
    age >= reserved.as_millis()
}

/// The directory on the least used partition, and its use; `None` when none can be asked. Writing goes on while one has room.
pub(crate) fn least_used<'a>(
    fs: &dyn FileSystem,
    dirs: impl IntoIterator<Item = &'a Path>,
) -> Option<(&'a Path, Space)> {
    let spaces = dirs.into_iter().filter_map(|dir| fs.space(dir).ok().map(|space| (dir, space)));
    spaces.min_by_key(|(_, space)| space.used_percent())
}

/// Why sends are refused at this use of the disk, if they are.
pub(crate) fn too_full(config: &RetentionConfig, dir: &Path, space: Space) -> Option<Unwritable> {
    let used_percent = space.used_percent();
    (used_percent > config.refuse_percent).then(|| Unwritable::DiskRatio {
        path: dir.to_owned(),
        used_percent,
        limit_percent: config.refuse_percent,
        available: space.available,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_started_percent_counts() {
        let used = |available| Space { total: 1000, available }.used_percent();
        assert_eq!([used(1000), used(999), used(990), used(989), used(0)], [0, 1, 1, 2, 100]);
    }

    #[test]
    fn what_is_reserved_for_others_is_neither_used_nor_available() {
        let stat = rustix::fs::statvfs("/").unwrap();
        let space = crate::fs::RealFs.space(Path::new("/")).unwrap();
        assert_eq!(stat.f_blocks * stat.f_frsize - space.total, (stat.f_bfree - stat.f_bavail) * stat.f_frsize);
    }

    #[test]
    fn files_past_their_age_go_in_the_hour_set_or_when_asked() {
        let config = RetentionConfig::default();
        assert_eq!(decide(&config, 4, 10, false), Cleaning::Expired);
        assert_eq!(decide(&config, 5, 10, false), Cleaning::None);
        assert_eq!(decide(&config, 5, 10, true), Cleaning::Expired);
    }

    #[test]
    fn a_fuller_disk_removes_files_at_any_hour_and_then_at_any_age() {
        let config = RetentionConfig::default();
        assert_eq!(decide(&config, 5, 75, false), Cleaning::None);
        assert_eq!(decide(&config, 5, 76, false), Cleaning::Expired);
        assert_eq!(decide(&config, 5, 86, false), Cleaning::Forced);
        let gentle = RetentionConfig { force_clean: false, ..config };
        assert_eq!(decide(&gentle, 5, 95, false), Cleaning::Expired);
    }

    #[test]
    fn a_file_is_expired_when_its_last_write_is_as_old_as_the_time_reserved() {
        let written = UNIX_EPOCH + Duration::from_secs(1000);
        let reserved = Duration::from_secs(60);
        assert!(!expired(Some(written), reserved, 1_059_999));
        assert!(expired(Some(written), reserved, 1_060_000));
        assert!(!expired(None, reserved, i64::MAX));
    }
}
