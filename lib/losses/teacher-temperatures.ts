import { requireNumber } from '../options/option-values.js';
import type { SettingTable } from '../options/setting-table.js';

/** The temperatures of a loss that learns the ranking of a teacher. */
export interface TeacherTemperatures {
  /** Divides the scores of the model and of the teacher; above 0. Default 1. */
  readonly temperature: number;
  /** Divides the scores of the model, in place of `temperature`. */
  readonly studentTemperature: number | null;
  /** Divides the scores of the teacher, in place of `temperature`. */
  readonly teacherTemperature: number | null;
}

export const TEACHER_TEMPERATURES = ['temperature', 'studentTemperature', 'teacherTemperature'] as const;

/** What divides the scores of each. @throws GradCacheError `INPUT` */
export function teacherTemperatures({
  temperature = 1,
  studentTemperature,
  teacherTemperature,
}: Partial<TeacherTemperatures>): { readonly student: number; readonly teacher: number } {
  const student = studentTemperature ?? temperature;
  const teacher = teacherTemperature ?? temperature;
  requireNumber('temperature', temperature, { above: 0 });
  requireNumber('studentTemperature', student, { above: 0 });
  requireNumber('teacherTemperature', teacher, { above: 0 });
  return { student, teacher };
}

const inPlaceOfIt = (help: string) =>
  ({ kind: 'number', above: 0, default: null, help: `${help}; default: the temperature` }) as const;

/** The same in `train`. */
export const TEACHER_TEMPERATURE_SETTINGS: SettingTable<TeacherTemperatures> = {
  temperature: { kind: 'number', above: 0, default: 1, flag: 'temperature', help: 'default 1' },
  studentTemperature: inPlaceOfIt("divides the model's scores"),
  teacherTemperature: inPlaceOfIt("divides the teacher's scores"),
};
